"""Reading the published YAML configurations, in their short and in their expanded form."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.diffusion.flow import FLOW_MATCHING, FlowSchedule
from CardioDiTLib.diffusion.schedule import NoiseSchedule
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.vqgan import VQGAN

# Keys without which shapes alone could not tell a wrong network from the right one.
_NEEDED_STAGE1 = ("num_embeddings", "embedding_dim")
_NEEDED_DIT = ("input_size", "patch_size", "in_channels", "hidden_size", "depth", "num_heads")

# Names under which the cosine table of A. Nichol and P. Dhariwal (arXiv 2102.09672) is known.
_COSINE_NAMES = ("cosine", "squaredcos_cap_v2")
_LINEAR_NAMES = ("linear_beta", "scaled_linear_beta")
_PREDICTION_TYPES = ("v_prediction", "epsilon", "sample")
_DIFFUSIONS = ("ddpm", "ddim", "dpm_pp")
# What the published network does without being told; a configuration may say so, but nothing else.
_FIXED = {"rope_base": 10000.0}
_FIXED_SCHEDULE = {"clip_sample": False, "variance_type": "fixed_small"}

_DIFFUSION_KEYS = (
    *("num_train_timesteps", "schedule", "beta_schedule", "prediction_type", "zero_terminal_snr", "beta_start"),
    *("beta_end", "s", "clip_sample", "variance_type"),
)
_FLOW_KEYS = ("num_train_timesteps", "sample_method", "logit_mean", "logit_std")
_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)\}")


class _Loader(yaml.SafeLoader):
    """Safe YAML that also reads 1e-5 as a number, as YAML 1.2 and the published training do."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class PublishedSchedule:
    """Noise schedule of a published transformer.

    Attributes:
        num_train_timesteps: Steps of the table; for flow matching the factor on its times.
        schedule: "cosine", "linear_beta", "scaled_linear_beta" or "flow_matching".
        prediction_type: "v_prediction", "epsilon", "sample" or "flow_matching".
        zero_terminal_snr: Whether the table ends in noise alone.
        options: Other arguments of `diffusion.NoiseSchedule` or `diffusion.FlowSchedule`.
    """

    num_train_timesteps: int = 300
    schedule: str = "cosine"
    prediction_type: str = "v_prediction"
    zero_terminal_snr: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_schedule(self) -> AnySchedule:
        """The schedule itself."""
        if self.schedule == FLOW_MATCHING:
            return FlowSchedule(self.num_train_timesteps, **self.options)
        return NoiseSchedule(
            self.schedule,
            self.num_train_timesteps,
            self.prediction_type,
            zero_terminal_snr=self.zero_terminal_snr,
            **self.options,
        )


def read_config(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Content of a YAML configuration (or of a mapping, as it is).

    Raises:
        CardioDiTError: if the file is absent, not text, not YAML, or not a mapping.
    """
    if isinstance(source, Mapping):
        return dict(source)
    path = Path(source)
    if not path.is_file():
        raise CardioDiTError(f"There is no configuration {path}.", "Check the path.")
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardioDiTError(
            f"{path.name} cannot be read as a YAML configuration.", "Give the .yaml file of the training."
        ) from error
    if not isinstance(content, Mapping):
        raise CardioDiTError(f"{path.name} is not a mapping of settings.", "Give the .yaml file of the training.")
    return dict(content)


def stage1_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor parameters of the codec, from `stage1.params`, `model.params` or the parameters themselves.

    Raises:
        CardioDiTError: if there are none, one is unknown, or a needed one is missing.
    """
    params = _params(_resolved(config), ("stage1", "vqgan", "model"), "embedding_dim", "stage1.params")
    _check_keys(params, VQGAN, _NEEDED_STAGE1, "stage-1")
    if "num_channels" not in params and "channels" not in params:
        raise CardioDiTError(
            "The stage-1 configuration has no num_channels.", "Use the configuration of this checkpoint."
        )
    return params


def dit_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor parameters of the transformer, from `dit.params`, `model.params` or the parameters themselves.

    Raises:
        CardioDiTError: if there are none, one is unknown, or a needed one is missing.
    """
    params = _params(_resolved(config), ("dit", "model"), "input_size", "dit.params")
    for key, value in _FIXED.items():
        if key in params and params.pop(key) != value:
            raise CardioDiTError(
                f"The transformer configuration has another {key} than {value:g}.", "Only that is known."
            )
    _check_keys(params, DiT4D, _NEEDED_DIT, "transformer")
    return params


def build_vqgan(config: Mapping[str, Any]) -> VQGAN:
    """Codec of a configuration, with random weights.

    Raises:
        CardioDiTError: if the configuration does not describe a codec.
    """
    return _build(VQGAN, stage1_params(config), "stage-1")


def build_dit(config: Mapping[str, Any]) -> DiT4D:
    """Transformer of a configuration, with random weights.

    Raises:
        CardioDiTError: if the configuration does not describe a transformer.
    """
    return _build(DiT4D, dit_params(config), "transformer")


def published_schedule(config: Mapping[str, Any]) -> tuple[PublishedSchedule, list[str]]:
    """Noise schedule of a transformer's configuration, and notes on what was assumed.

    Raises:
        CardioDiTError: if entries contradict each other, or the schedule is not one that this library knows.
    """
    usual, notes = PublishedSchedule(), []
    if _is_flow(config):
        return _published_flow(config)
    for section in _sections(config, "scheduler"):
        _check_scheduler(section, _DIFFUSION_KEYS, "noise schedule")
    places = [m for m in _mappings(config) if "num_train_timesteps" in m or "prediction_type" in m]
    steps = _one_value([m["num_train_timesteps"] for m in places if "num_train_timesteps" in m], "num_train_timesteps")
    prediction = _one_value([m["prediction_type"] for m in places if "prediction_type" in m], "prediction_type")
    names = [m[key] for m in places for key in ("schedule", "beta_schedule") if key in m]
    schedule = _one_value(["cosine" if n in _COSINE_NAMES else n for n in names], "schedule")
    ends = [m["zero_terminal_snr"] for m in _mappings(config) if "zero_terminal_snr" in m]
    ending = _one_value(ends, "zero_terminal_snr")

    for label, value, assumed in (
        ("number of training steps", steps, usual.num_train_timesteps),
        ("prediction type", prediction, usual.prediction_type),
        ("noise schedule", schedule, usual.schedule),
    ):
        if value is None:
            notes.append(f"The configuration names no {label}; the published {assumed} is assumed.")
    steps = usual.num_train_timesteps if steps is None else steps
    prediction = usual.prediction_type if prediction is None else prediction
    schedule = usual.schedule if schedule is None else schedule
    if schedule not in ("cosine", *_LINEAR_NAMES):
        raise CardioDiTError(
            f"The noise schedule '{schedule}' is not known.", f"Known are cosine, {', '.join(_LINEAR_NAMES)}."
        )
    if prediction not in _PREDICTION_TYPES:
        raise CardioDiTError(
            f"The prediction type '{prediction}' is not known.", f"It has to be one of {', '.join(_PREDICTION_TYPES)}."
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise CardioDiTError(f"num_train_timesteps '{steps}' is not a whole number.", "The published value is 300.")
    if ending not in (None, False, True):
        raise CardioDiTError(f"zero_terminal_snr '{ending}' is not true or false.", "Correct the configuration.")
    options = {}
    for section in _sections(config, "scheduler"):
        for key, value in _FIXED_SCHEDULE.items():
            if section.get(key, value) != value:
                raise CardioDiTError(
                    f"The configuration samples with {key} '{section[key]}'.", f"Only {value} is known here."
                )
        for key, own in (("s", "cosine_offset"), ("beta_start", "beta_start"), ("beta_end", "beta_end")):
            if key in section:
                options[own] = _a_number(section[key], key)
    found = PublishedSchedule(steps, schedule, prediction, bool(ending), options)
    found.to_schedule()
    return found, notes


def _is_flow(config: Mapping[str, Any]) -> bool:
    """Whether a configuration says that its transformer was trained by flow matching.

    Raises:
        CardioDiTError: It names a kind of training that is not known, or two.
    """
    kinds = [m["scheduler_type"] for m in _mappings(config) if "scheduler_type" in m]
    kind = _one_value(kinds, "scheduler_type")
    if kind not in (None, FLOW_MATCHING, *_DIFFUSIONS):
        raise CardioDiTError(
            f"The scheduler_type '{kind}' is not known.", f"Known are {', '.join((FLOW_MATCHING, *_DIFFUSIONS))}."
        )
    return kind == FLOW_MATCHING


def _published_flow(config: Mapping[str, Any]) -> tuple[PublishedSchedule, list[str]]:
    values: dict[str, Any] = {}
    for section in _sections(config, "scheduler"):
        _check_scheduler(section, _FLOW_KEYS, "flow matching")
        for key in section:
            values[key] = _one_value([section[key], *([values[key]] if key in values else [])], key)
    notes = []
    usual = FlowSchedule()
    if "num_train_timesteps" not in values:
        notes.append(
            "The configuration names no number of training steps; "
            f"the published {usual.num_train_timesteps} is assumed."
        )
    steps = values.pop("num_train_timesteps", usual.num_train_timesteps)
    found = PublishedSchedule(steps, FLOW_MATCHING, FLOW_MATCHING, False, values)
    found.to_schedule()
    return found, notes


def _sections(config: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [m[name] for m in _mappings(config) if isinstance(m.get(name), Mapping)]


def _check_scheduler(section: Mapping[str, Any], known: tuple[str, ...], title: str) -> None:
    unknown = [str(key) for key in section if key not in known]
    if unknown:
        raise CardioDiTError(
            f"The scheduler has settings that {title} does not know: {', '.join(unknown)}.",
            f"Known are {', '.join(known)}.",
        )


def _a_number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CardioDiTError(f"{key} '{value}' of the scheduler is not a number.", "Correct the configuration.")
    return float(value)


def normalizes_latents(config: Mapping[str, Any]) -> bool | None:
    """Whether latents were centred and scaled channel by channel in training; None where it is not said.

    Raises:
        CardioDiTError: If it is said twice, differently.
    """
    value = _one_value(
        [m["normalize_latents"] for m in _mappings(config) if "normalize_latents" in m], "normalize_latents"
    )
    return None if value is None else bool(value)


def published_scale_factor(config: Mapping[str, Any]) -> float | None:
    """Number by which latents were multiplied in training (1 / standard deviation); None where none is written.

    Raises:
        CardioDiTError: if it is written twice with different values, or is not a positive number.
    """
    value = _one_value([m["scale_factor"] for m in _mappings(config) if "scale_factor" in m], "scale_factor")
    return None if value is None else checked_scale_factor(value)


def checked_scale_factor(value: Any) -> float:
    """The scale factor as a number.

    Raises:
        CardioDiTError: if it is not a positive finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise CardioDiTError(
            f"The scale factor '{value}' is not a positive number.",
            "It is 1 / standard deviation of the training latents.",
        )
    return float(value)


def _resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with references to its own values, such as ``${model.params.input_size}``, filled in.

    What leads nowhere (environment variables, functions) stays as it is.
    """

    def filled(value: Any, depth: int = 0) -> Any:
        if isinstance(value, Mapping):
            return {key: filled(inner, depth) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner, depth) for inner in value]
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None or depth > 8:
            return value
        found: Any = config
        for part in match.group(1).split("."):
            if not isinstance(found, Mapping) or part not in found:
                return value
            found = found[part]
        return filled(found, depth + 1)

    return {str(key): filled(value) for key, value in config.items()}


def _params(config: Mapping[str, Any], names: tuple[str, ...], telling_key: str, usual_place: str) -> dict[str, Any]:
    sections = [config[name] for name in names if isinstance(config.get(name), Mapping)]
    candidates = [section.get("params") for section in sections]
    candidates += [*sections, config.get("params"), config.get("config"), config]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and telling_key in candidate:
            return {str(key): value for key, value in candidate.items()}
    raise CardioDiTError(
        f"The configuration has no '{usual_place}' with the key '{telling_key}'.",
        "Check that stage-1 and transformer configurations are not swapped.",
    )


def _check_keys(params: Mapping[str, Any], network: type, needed: tuple[str, ...], title: str) -> None:
    known = [name for name in inspect.signature(network).parameters if name != "self"]
    unknown = [key for key in params if key not in known]
    if unknown:
        raise CardioDiTError(
            f"The {title} configuration has settings that are not known: {', '.join(unknown)}.",
            f"Known are {', '.join(known)}.",
        )
    missing = [key for key in needed if key not in params]
    if missing:
        raise CardioDiTError(
            f"The {title} configuration lacks {', '.join(missing)}.", "Use the configuration of this checkpoint."
        )


def _build(network: type, params: Mapping[str, Any], title: str) -> Any:
    try:
        return network(**params)
    except CardioDiTError:
        raise
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise CardioDiTError(
            f"The {title} configuration does not describe a network: {reason}",
            "Compare its values with the published configuration.",
        ) from error


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """The value itself and everything inside it that is a mapping."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _one_value(values: list[Any], name: str) -> Any:
    if any(value != values[0] for value in values):
        raise CardioDiTError(
            f"The configuration gives {name} more than once, with different values: {', '.join(map(str, values))}.",
            "Keep the value that the transformer was trained with.",
        )
    return values[0] if values else None
