"""What Slicer's Extensions Index asks of an extension, checked here without a network.

Each check is a function of what it reads and returns sentences about what is wrong, so that it can be shown on broken
input that it finds something.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NAME = "CardioDiT"
ENTRY = REPOSITORY / f"{NAME}.json"
CMAKE = REPOSITORY / "CMakeLists.txt"
README = REPOSITORY / "README.md"

# categories that other extensions of the index use and that fit
CATEGORIES = {"Cardiac", "Image Synthesis", "Sequences"}
LICENCE_NAMES = {"LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt"}
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
REQUIRED = {"$schema", "category", "scm_url"}
TYPES: dict[str, type] = {
    "$schema": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "category": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "scm_revision": str,
    "scm_type": str,
    "scm_url": str,
    "tier": int,
}
LARGEST_HISTORY_KIB = 100 * 1024
RAW = "https://raw.githubusercontent.com/Cardio-AI/SlicerCardioDiT/main/"


def entry_problems(entry: dict[str, Any], name: str) -> list[str]:
    """The catalogue entry against its schema and against the index's rules of names."""
    problems = [f"{key} is missing" for key in sorted(REQUIRED - entry.keys())]
    problems += [f"{key} is unknown" for key in sorted(entry.keys() - TYPES.keys())]
    problems += [f"{key} is no {TYPES[key].__name__}" for key in entry.keys() & TYPES.keys() if wrong_type(entry, key)]
    if problems:
        return problems
    if entry["$schema"] != SCHEMA:
        problems.append("$schema is not the one of today")
    if not 1 <= entry.get("tier", 1) <= 5:
        problems.append("tier is not from 1 to 5")
    if entry.get("scm_type", "git") not in ("git", "local"):
        problems.append("scm_type is neither git nor local")
    if not all(isinstance(item, str) and item for item in entry.get("build_dependencies", [])):
        problems.append("a dependency is not a name")
    if entry["category"] not in CATEGORIES:
        problems.append("category is not accepted")
    if name.lower().startswith("slicer"):
        problems.append("the extension's name starts with Slicer")
    address = urllib.parse.urlsplit(entry["scm_url"])
    if address.scheme not in ("git", "https") or not address.netloc:
        problems.append("scm_url is no address of git or https")
    if not Path(address.path).stem.startswith("Slicer"):
        problems.append("the repository's name does not start with Slicer")
    return problems


def wrong_type(entry: dict[str, Any], key: str) -> bool:
    """JSON knows truth values and numbers apart, Python does not."""
    value, kind = entry[key], TYPES[key]
    return not isinstance(value, kind) or (kind is int and isinstance(value, bool))


def bytes_problems(content: bytes) -> list[str]:
    """A text file of the index: UTF-8 without mark, Unix line ends, the last one too."""
    problems = []
    if content.startswith(b"\xef\xbb\xbf"):
        problems.append("it starts with a byte order mark")
    if b"\r" in content:
        problems.append("line ends are not those of Unix")
    if not content.endswith(b"\n"):
        problems.append("the last line does not end")
    return problems


def quoted(cmake: str, variable: str) -> str | None:
    """Value of a variable as the index finds it: one literal in quotes, on one line."""
    found = re.findall(rf'set\s*\({variable}\s*"([^"\n]+)"[ ]*\)', cmake)
    return found[0] if len(found) == 1 and "$" not in found[0] else None


def image_problems(cmake: str, tree: Path) -> list[str]:
    """Addresses of icon and screenshots: pictures, and in the tree once it is published."""
    problems = []
    for variable, several in (("EXTENSION_ICONURL", False), ("EXTENSION_SCREENSHOTURLS", True)):
        value = quoted(cmake, variable)
        urls = value.split() if value else []
        if not urls or (len(urls) > 1 and not several):
            problems.append(f"{variable} cannot be found")
        for url in urls:
            if not url.startswith(RAW) or not url.lower().endswith((".png", ".jpg", ".jpeg", ".gif")):
                problems.append(f"{url} is not the raw address of a picture")
            elif not (tree / url.removeprefix(RAW)).is_file():
                problems.append(f"{url.removeprefix(RAW)} is not in the tree")
    return problems


def png_size(path: Path) -> tuple[int, int]:
    """(width, height) of a PNG."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n"), f"{path.name} is no PNG"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def sections(readme: str) -> dict[str, str]:
    """Heading, in small letters -> what stands under it; what stands before the first has the heading ''."""
    parts = re.split(r"^#{1,6} +(.+?) *$", re.sub(r"```.*?```", "", readme, flags=re.S), flags=re.M)
    found = {"": parts[0]}
    for heading, text in zip(parts[1::2], parts[2::2]):
        found[heading.lower()] = found.get(heading.lower(), "") + text
    return found


def images(text: str) -> list[str]:
    """Sources of all pictures of a Markdown text."""
    return re.findall(r"!\[[^\]]*\]\(([^)\s]+)", text) + re.findall(r'<img[^>]*\ssrc="([^"]+)"', text)


def sentences(text: str) -> list[str]:
    """Sentences of five words and more, of running text."""
    running = "\n".join(line for line in text.splitlines() if not line.startswith(("|", ">", "!", "```")))
    return [s for s in re.split(r"(?<=[.:;])\s", running) if len(s.split()) >= 5]


def readme_problems(readme: str, modules: list[str], tree: Path) -> list[str]:
    """What a reader of the index's list has to find on the homepage."""
    found = sections(readme)
    problems = []
    if not sentences(found.get(NAME.lower(), "")):
        problems.append("there is no summary under the title")
    pictures = images(readme)
    if not pictures:
        problems.append("there is no image")
    local = [source.removeprefix(RAW) for source in pictures if source.startswith(RAW) or "://" not in source]
    problems += [f"the image {source} is not in the tree" for source in local if not (tree / source).is_file()]
    about = "\n".join(text for heading, text in found.items() if "module" in heading)
    for module in modules:
        if not any(re.search(rf"\b{module}\b", line) and len(line.split()) >= 6 for line in about.splitlines()):
            problems.append(f"no sentence about {module} in a section about modules")
    citing = "\n".join(text for heading, text in found.items() if "cit" in heading)
    if not re.search(r"doi|arxiv", citing, re.I):
        problems.append("no section says how to cite")
    if "Apache-2.0" not in readme or "CC BY-NC-SA 4.0" not in readme:
        problems.append("the licences of code and weights are not named")
    return problems


def tier_3_gaps(readme: str, module: str) -> list[str]:
    """What tier 3 asks beyond the list above, as far as files can tell.

    Args:
        readme: The homepage.
        module: Source of all scripts of the Slicer module.
    """
    gaps = []
    tutorial = "\n".join(text for heading, text in sections(readme).items() if "tutorial" in heading)
    if len(re.findall(r"^\s*\d+\. ", tutorial, re.M)) < 3:
        gaps.append("no tutorial in steps")
    if not images(tutorial):
        gaps.append("the tutorial has no screenshot")
    if not re.search(r"sample data", tutorial, re.I):
        gaps.append("the tutorial does not say where its data comes from")
    if not re.search(r'connect\(\s*"startupCompleted\(\)",\s*registerSampleData', module):
        gaps.append("no sample data is registered")
    if not re.search(r"licen[cs]e", module, re.I) or not re.search(r"confirm|accept", module, re.I):
        gaps.append("nobody is asked to accept the terms of the weights")
    return gaps


def module_names() -> list[str]:
    """Modules of the extension: what CMake builds with generic tests; a library is built without."""
    names = re.findall(r"^add_subdirectory\((\w+)\)", CMAKE.read_text(encoding="utf-8"), re.M)
    built = {name: (REPOSITORY / name / "CMakeLists.txt").read_text(encoding="utf-8") for name in names}
    return [name for name, lines in built.items() if "WITH_GENERIC_TESTS" in lines]


def module_source() -> str:
    scripts = (REPOSITORY / NAME).rglob("*.py")
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(scripts) if "Testing" not in path.parts)


@pytest.fixture
def entry() -> dict[str, Any]:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def test_entry_is_valid(entry):
    assert entry_problems(entry, ENTRY.stem) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"category": None}, "category is no str"),
        ({"category": "Hearts"}, "category is not accepted"),
        ({"homepage": "https://example.org"}, "homepage is unknown"),
        ({"tier": 6}, "tier is not from 1 to 5"),
        ({"tier": True}, "tier is no int"),
        ({"build_dependencies": "PyTorch"}, "build_dependencies is no list"),
        ({"scm_url": "git@github.com:Cardio-AI/SlicerCardioDiT.git"}, "scm_url is no address of git or https"),
        ({"scm_url": "https://github.com/Cardio-AI/CardioDiT.git"}, "the repository's name does not start with Slicer"),
    ],
)
def test_wrong_entries_are_noticed(entry, change, said):
    assert said in entry_problems({**entry, **change}, NAME)


def test_other_wrong_entries_are_noticed(entry):
    assert "the extension's name starts with Slicer" in entry_problems(entry, "SlicerCardioDiT")
    del entry["scm_url"]
    assert entry_problems(entry, NAME) == ["scm_url is missing"]


@pytest.mark.parametrize("name", [f"{NAME}.json", f"{NAME}.s4ext", "CMakeLists.txt"])
def test_files_are_plain(name):
    assert bytes_problems((REPOSITORY / name).read_bytes()) == []


def test_files_that_are_not_plain_are_noticed():
    assert len(bytes_problems(b"\xef\xbb\xbf{\r\n}")) == 3


def test_entry_is_formatted_as_the_index_formats_it(entry):
    """Two blanks, keys in order, short lists on one line."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(entry.items())]
    assert ENTRY.read_text(encoding="utf-8") == "{\n" + ",\n".join(lines) + "\n}\n"


def test_project_is_called_as_the_entry():
    names = re.findall(r"^\s*project\s*\(\s*([^\s)]+)", CMAKE.read_text(encoding="utf-8"), re.M)
    assert names == [ENTRY.stem]


def test_dependencies_agree(entry):
    assert entry["build_dependencies"] == ["PyTorch"]
    assert quoted(CMAKE.read_text(encoding="utf-8"), "EXTENSION_DEPENDS") == "PyTorch"


def test_description_is_short_and_names_the_terms_of_the_weights():
    description = quoted(CMAKE.read_text(encoding="utf-8"), "EXTENSION_DESCRIPTION")
    assert description is not None and "CC BY-NC-SA 4.0" in description and "non-commercial" in description
    assert len(re.findall(r"\.(?=\s|$)", description)) <= 3 and len(description) <= 300


def test_images_are_where_their_addresses_say():
    assert image_problems(CMAKE.read_text(encoding="utf-8"), REPOSITORY) == []


def test_wrong_image_addresses_are_noticed(tmp_path):
    (tmp_path / "a.webp").touch()
    wrong = f'set(EXTENSION_ICONURL "{RAW}b.png")\nset(EXTENSION_SCREENSHOTURLS "{RAW}a.webp")\n'
    assert image_problems(wrong, tmp_path) == [
        "b.png is not in the tree",
        f"{RAW}a.webp is not the raw address of a picture",
    ]
    variables = 'set(EXTENSION_ICONURL "${HOMEPAGE}/a.png")\nset(EXTENSION_SCREENSHOTURLS\n)\n'
    assert len(image_problems(variables, tmp_path)) == 2


@pytest.mark.parametrize("path", ["CardioDiT.png", "CardioDiT/Resources/Icons/CardioDiT.png"])
def test_icon_has_the_size_that_slicer_shows(path):
    assert png_size(REPOSITORY / path) == (128, 128)


def test_icon_is_the_one_that_the_script_draws():
    image = pytest.importorskip("PIL.Image")
    numpy = pytest.importorskip("numpy")
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("make_icon", REPOSITORY / "Resources" / "Icons" / "make_icon.py")
    assert spec is not None and spec.loader is not None
    maker = module_from_spec(spec)
    spec.loader.exec_module(maker)
    drawn = numpy.asarray(maker.icon(), int)
    assert (drawn[[0, 0, -1, -1], [0, -1, 0, -1], 3] == 0).all()  # transparent corners
    for path in maker.ICONS:
        kept = numpy.asarray(image.open(path).convert("RGBA"), int)
        assert numpy.abs(kept - drawn).max() <= 8, path  # Pillow's versions round differently


def test_licence_has_a_name_that_is_found():
    names = {path.name for path in REPOSITORY.iterdir() if path.is_file()}
    assert len(names & LICENCE_NAMES) == 1
    assert "set(EXTENSION_LICENSE_FILE ${CMAKE_CURRENT_SOURCE_DIR}/LICENSE.txt)" in CMAKE.read_text(encoding="utf-8")


def test_history_is_small_enough():
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git, or not a clone")
    out = subprocess.run(["git", "count-objects", "-v"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    kib = dict(line.split(": ") for line in out.stdout.splitlines())
    assert int(kib["size"]) + int(kib["size-pack"]) <= LARGEST_HISTORY_KIB


def test_modules_are_told_from_libraries():
    assert module_names() == [NAME]


def test_homepage_says_what_the_index_asks():
    assert readme_problems(README.read_text(encoding="utf-8"), module_names(), REPOSITORY) == []


def test_a_poor_homepage_is_noticed(tmp_path):
    poor = "# CardioDiT\n\n![x](missing.png)\n\n## Modules\n\nCardioDiT\n\n## Citation\n\nplease\n"
    assert readme_problems(poor, [NAME], tmp_path) == [
        "there is no summary under the title",
        "the image missing.png is not in the tree",
        "no sentence about CardioDiT in a section about modules",
        "no section says how to cite",
        "the licences of code and weights are not named",
    ]
    assert "there is no image" in readme_problems("# CardioDiT\n", [NAME], tmp_path)


def test_tier_is_earned(entry):
    """Tier 3 is what the Extensions Manager shows by default."""
    gaps = readme_problems(README.read_text(encoding="utf-8"), module_names(), REPOSITORY)
    gaps += tier_3_gaps(README.read_text(encoding="utf-8"), module_source())
    assert entry.get("tier", 1) == (1 if gaps else 3), gaps or "everything is there for tier 3"


def test_gaps_are_noticed_and_closed():
    assert len(tier_3_gaps("# CardioDiT\n", "")) == 5
    readme = "## Tutorial\n\n1. Open Sample Data.\n2. Press.\n3. Look. ![it](a.png)\n"
    module = 'slicer.app.connect("startupCompleted()", registerSampleData)\naccept(licence)\n'
    assert tier_3_gaps(readme, module) == []


def test_s4ext_agrees(entry):
    lines = (REPOSITORY / f"{NAME}.s4ext").read_text(encoding="utf-8").splitlines()
    values = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    cmake = CMAKE.read_text(encoding="utf-8")
    assert values["scm"] == "git"
    assert values["scmurl"] == entry["scm_url"]
    assert values["scmrevision"] == entry["scm_revision"]
    assert values["depends"].split() == entry["build_dependencies"]
    assert values["build_subdirectory"] == entry["build_subdirectory"]
    for key in ("homepage", "contributors", "category", "iconurl", "description", "screenshoturls"):
        assert values[key] == quoted(cmake, f"EXTENSION_{key.upper()}"), key
