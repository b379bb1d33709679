"""Taking annotated types apart."""

from __future__ import annotations

import types
import typing
from typing import Annotated

import slicer


def splitAnnotations(possiblyAnnotatedType):
    """The bare type and the tuple of its annotations."""
    if typing.get_origin(possiblyAnnotatedType) is Annotated:
        bare, *annotations = typing.get_args(possiblyAnnotatedType)
        return bare, tuple(annotations)
    return possiblyAnnotatedType, ()


def unannotatedType(possiblyAnnotatedType):
    """The bare type."""
    return splitAnnotations(possiblyAnnotatedType)[0]


def findFirstAnnotation(annotationsList, annotationType):
    """The first annotation of a type, or None."""
    return next((entry for entry in annotationsList if isinstance(entry, annotationType)), None)


def splitPossiblyDottedName(possiblyDottedName):
    """'a.b.c' -> ('a', 'b.c'); 'a' -> ('a', None)."""
    head, _, tail = possiblyDottedName.partition(".")
    return head, tail or None


def isUnion(type_):
    """Whether a type is typing.Union[...]; `A | B` is not one for the parameter node."""
    return typing.get_origin(type_) is typing.Union and not isinstance(type_, types.UnionType)


def _is_node(type_):
    return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)


def isNodeOrUnionOfNodes(datatype):
    """Whether the type is a node class, or a union of node classes and None."""
    bare = unannotatedType(datatype)
    if not isUnion(bare):
        return _is_node(bare)
    return all(_is_node(unannotatedType(entry)) or entry is type(None) for entry in typing.get_args(bare))


def getNodeTypes(datatype):
    """The names of the node classes in a type."""
    bare = unannotatedType(datatype)
    candidates = [unannotatedType(entry) for entry in typing.get_args(bare)] if isUnion(bare) else [bare]
    names = tuple(entry().GetClassName() for entry in candidates if _is_node(entry))
    if not names:
        raise TypeError(f"Cannot handle type {datatype}")
    return names
