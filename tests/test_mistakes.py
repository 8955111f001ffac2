"""What people mistype: each mistake gets one line that says what to write instead."""

from __future__ import annotations

import shlex
import tarfile
from pathlib import Path

import numpy as np
import pytest
from folders import snapshot
from PIL import Image


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which there is something to be wrong about."""
    place = tmp_path_factory.mktemp("mistakes")
    noise = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    for name in ("photos/a.jpg", "photos/b.jpg", "b.jpg/inside.jpg", "c.png"):
        (place / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(place / name)
    (place / "empty").mkdir()
    (place / "notes.txt").write_text("no image")
    (place / "nul").write_bytes(b"photos/a.jpg\0photos/b.jpg\0")
    (place / "nothing").touch()
    (place / "net.pt2").write_bytes(b"PK\3\4")
    with tarfile.open(place / "s.tar", "w") as tar:
        tar.add(place / "c.png", "c.png")
    (place / "link").symlink_to("photos/a.jpg")
    (place / "broken.toml").write_text("[clean\n")
    (place / "key.toml").write_text("[clean]\ntreshold = 0.2\n")
    (place / "table.toml").write_text("[claen]\n")
    (place / "above.toml").write_text("jobs = 2\n")
    (place / "range.toml").write_text("[clean]\nthreshold = 7\n")
    (place / "type.toml").write_text("[clean]\njobs = 2.5\n")
    (place / "blocked").mkdir()
    (place / "blocked/sitecustomize.py").write_text(
        "import sys\n"
        "for name in 'torch', 'fsspec', 'pillow_heif', 'distributed':\n"
        "    sys.modules[name] = None\n"
    )
    return place


# A command line without "lgs", and what its one line of answer ends in or holds.
MISTAKES = {
    # the command
    "claen photos -o out": "no command 'claen'; did you mean 'lgs clean'?",
    "photos -o out": "no command 'photos'; to clean it: lgs clean photos -o DIR",
    "detect photos": "no command 'detect'; there are attack, ",
    "--method jpeg clean photos -o out": "options follow a command: lgs COMMAND --method",
    "attack lavn photos": "no command 'lavn'; did you mean 'lgs attack lavan'?",
    "help claen": "no help for 'claen'; did you mean 'clean'?",
    "help lcalize": "no help for 'lcalize'; did you mean 'localize'?",
    "help systemd": "did you mean 'watch'?",
    "help configuration": "did you mean 'config'?",
    "help exit-codes": "did you mean 'programs'?",
    "help exit codes": "did you mean 'programs'?",
    "config claen": "did you mean 'clean'?",
    "completion csh": "'csh' is not valid; did you mean 'zsh'? valid is bash, zsh, fish",
    "methods lgs": "got unexpected extra argument (lgs); usage: lgs methods",
    "version": "no command 'version'; did you mean 'lgs --version'?",
    "-V": "no option '-V'; did you mean '--version'?",
    "--versoin": "no option '--versoin'; did you mean '--version'?",
    "Clean photos -o out": "no command 'Clean'; did you mean 'lgs clean'?",
    "help clean scan": "lgs clean has no commands; 'lgs help clean' is all",
    "config clean scan": "one command at a time: no command 'clean scan'",
    "completion": "nothing is given to work on; usage: lgs completion SHELL",
    # inputs
    "clean": "nothing to clean: lgs clean FILE_OR_DIRECTORY... -o DIR",
    "clean -o out": "nothing to clean: lgs clean FILE_OR_DIRECTORY... -o DIR",
    "clean phots -o out": "phots: no such file or directory; did you mean photos?",
    "scan phots": "phots: no such file or directory; did you mean photos?",
    "compare photos/aa.jpg -o s.png": "did you mean photos/a.jpg?",
    "report run.jsonl -o r.html": "run.jsonl: no such file or directory; it is looked for in ",
    "clean nowhere/photos -o out": "nor is there a directory nowhere",
    "clean '*.jpeg' -o out": "the pattern matches nothing here",
    "clean '~/photos' -o out": "write ~ without quotes, or $HOME: the shell has to replace it",
    "clean s3://photos/2024 -o out": "pip install 'lgs-cli[remote]'",
    "clean '' -o out": "the path is empty; is a variable of the shell not set?",
    "clean photos photos -o out": "photos/a.jpg is given twice",
    "clean - photos -o out": "'-' is one image from stdin, and goes alone: lgs clean - -o OUT",
    "clean --files-from nul -o out": "--files-from: the paths end in NUL; add -0",
    "clean --files-from gone -o out": "--files-from: 'gone': No such file or directory",
    "compare photos -o s.png": "photos is a directory; name its images: photos/*.jpg",
    "scan s.tar photos": "archives go in a run of their own, and photos is none",
    "scan s.tar --move-to q": "--move-to moves files, and no images of archives",
    "scan": "nothing to scan: name files or directories, or --files-from FILE",
    "clean photos extra -o out": "extra: no such file or directory",
    "clean http://example.com/a.jpg -o out": "curl -s URL | lgs clean - -o -",
    "report photos -o r.html": "photos is a directory; name its records: photos/*.jsonl",
    "report": "nothing is given to work on; usage: lgs report RUN.jsonl... --output FILE",
    "compare -o s.png": "nothing is given to work on; usage: lgs compare IMAGE... --output FILE",
    "scan photos --move-to photos": "photos is both an input and where files are moved",
    "scan photos --move-to notes.txt": "--move-to notes.txt: not a directory",
    "scan photos --detector photos": "detector is 'photos'; valid is an .onnx file that is there",
    # outputs
    "clean photos": "--output DIR is missing: name where cleaned images go, or --in-place",
    "clean photos cleaned": "cleaned does not exist; if outputs go there, write -o cleaned",
    "clean photos c.png": "--output DIR is missing: name where cleaned images go, or --in-place",
    "clean photos '*.jpeg'": "--output DIR is missing: name where cleaned images go, or --in-place",
    "clean photos -o": "-o needs a value: --output OUT",
    "clean photos -o ''": "the path is empty; is a variable of the shell not set?",
    "clean photos -o notes.txt":
        "notes.txt is a file: name a directory, or for one image a file as b.jpg",
    "clean photos -o photos": "photos is both an input and where outputs go",
    "clean photos -o x.jpg":
        "x.jpg takes a single image, and photos is a directory: name a directory, -o DIR",
    "clean s.tar -o x.jpg": "x.jpg takes a single image, and s.tar is an archive",
    "clean c.png -o b.txt":
        "b.txt: no format has the suffix .txt; write -o b.jpg for a file, or -o b.txt/ for a ",
    "clean c.png -o b.mp4": "no format has the suffix .mp4",
    "clean photos/a.jpg -o gone/b.jpeg2": "no format has the suffix .jpeg2",
    "clean - -o b.txt": "no format has the suffix .txt",
    "clean photos -o c.tar":
        "c.tar: outputs go into a directory, those of archives too: -o DIR, or -o c.tar/ for one ",
    "clean s.tar -o so.tar": "so.tar: outputs go into a directory, those of archives too",
    "clean photos -o c.ZIP": "c.ZIP: outputs go into a directory",
    "clean photos/a.jpg photos/b.jpg -o x.jpg": "there are 2 inputs: name a directory, -o DIR",
    "clean photos/a.jpg -o photos/a.jpg": "is the input; to replace it, write --in-place",
    "clean photos/a.jpg -o photos": "photos/a.jpg is an input; it would be overwritten",
    "clean photos/a.jpg -o x.heic": "HEIC needs pillow-heif: pip install 'lgs-cli[heif]'",
    "clean photos/a.jpg -o x.jpg --format png":
        "x.jpg is jpeg by its name, and --format says png: change one",
    "clean photos -o -": "stdout takes a single image, and photos is a directory",
    "clean - -o out": "an image from stdin has no name: write -o out/a.jpg, or -o -",
    "clean photos -o out --masks photos": "photos is both an input and where outputs go",
    "clean photos -o out --masks ./out":
        "out is where outputs and masks go: give --masks a directory of its own",
    "clean photos -o out --report photos/a.jpg": "photos/a.jpg is an input",
    "clean photos -o out --report gone/run.jsonl": "there is no directory gone; make it first",
    "compare photos/a.jpg": "--output FILE is missing: a .png or .jpg file",
    "compare photos/a.jpg -o s.txt": "s.txt: the sheet is a .png or a .jpg file",
    "clean photos -o notes.txt/out": "notes.txt is not a directory",
    "clean photos -o out --masks notes.txt": "notes.txt is not a directory",
    "clean photos -o out --report photos": "--report photos: is a directory",
    "clean photos -o out --config photos": "--config photos: is a directory",
    # in place
    "clean photos --in-place": "keep them with --backup .orig, or confirm with --yes",
    "clean photos --in-place --backup .jpg": "write --backup .orig",
    "clean photos --in-place --yes -o out": "--in-place replaces the inputs and --output does not",
    "clean photos --in-place --yes --format png": "to convert, write -o DIR --format NAME",
    "clean photos -o out --backup .orig": "--backup is for --in-place",
    # options and their values
    "clean photos -o out --treshold 0.2": "no option '--treshold'; did you mean '--threshold'?",
    "clean photos -o out -threshold 0.2": "no option '-threshold'; did you mean '--threshold'?",
    "clean photos -o out --block_size 9": "did you mean '--block-size'?",
    "clean photos -o out --workers 4": "no option '--workers'; did you mean '--jobs'?",
    "clean photos -o out --xyzzy": "no option '--xyzzy'; 'lgs clean --help' lists all",
    "clean photos -o out --quiet=yes": "--quiet takes no value; write it alone",
    "clean photos -o out --jobs 0": "--jobs: 0 is not valid; valid is at least 1",
    "clean photos -o out --jobs many": "--jobs: 'many' is no whole number; valid is at least 1",
    "clean photos -o out --quality 101": "--quality: 101 is not valid; valid is 1 to 100",
    "clean photos -o out --threshold 20": "threshold is 20; valid is 0 to 1",
    "clean photos -o out --threshold 0,2": "--threshold: '0,2' is no number; valid is 0 to 1",
    "clean photos -o out --overlap 15": "overlap is 15; valid is less than block_size (15)",
    "clean photos -o out --timeout 0": "valid is more than 0",
    "clean photos -o out --memory-limit lots": "'lots' is no size; write 500M or 2G",
    "clean photos -o out --mask-style red": "valid is heatmap, overlay, binary, side-by-side",
    "clean photos -o out --format jgp": "no format 'jgp'; did you mean 'jpeg'? valid is keep, ",
    "clean photos -o out --format heif": "HEIC needs pillow-heif: pip install 'lgs-cli[heif]'",
    "clean --watch photos -o out": "write --watch last, or --watch=VALUE",
    "clean photos -o out --watch -5": "no option '-5', and no value here is negative",
    "clean photos -o out --jobs -1": "--jobs: -1 is not valid; valid is at least 1",
    "clean photos -o out --jobs=": "--jobs: the value is empty; is a variable of the shell not set",
    "clean photos -o out --threshold -0.1": "threshold is -0.1; valid is 0 to 1",
    "clean photos -o out --memory-limit -1": "'-1' is no size; write 500M or 2G",
    "clean photos -o out --timeout 5s": "--timeout: '5s' is no number; valid is more than 0",
    "clean photos -o out --max-pixels 10M": "'10M' is no whole number; valid is at least 1",
    "clean photos -o out --progress fancy": "valid is auto, json, none",
    "clean photos -o out --count 3": "no option '--count'; 'lgs clean --help' lists all",
    "clean photos -o out --ouput o": "no option '--ouput'; did you mean '--output'?",
    "clean photos -o out --methods lgs": "no option '--methods'; did you mean '--method'?",
    "clean photos -o out -m jpeg": "no option '-m'; did you mean '--method'?",
    "scan photos --method lgs": "no option '--method'; 'lgs scan --help' lists all",
    "clean photos -o out --shard 3": "--shard: '3' is not I/N, as 3/16",
    "clean photos -o out --shard a/b": "--shard: 'a/b' is not I/N, as 3/16",
    "clean photos -o out --shard 4/3": "--shard: '4/3': I is from 1 to N",
    "clean photos -o out --shard 0/3": "I is from 1 to N; the first is 1/3",
    "clean photos -o out --shard 1/2 --delete": "--delete is for outputs in a directory, without ",
    "clean photos -o out --cluster tcp://h:1":
        "--cluster needs distributed: pip install 'lgs-cli[dask]'",
    # methods
    "clean photos -o out --method lsg": "no method 'lsg'; did you mean 'lgs'? there are lgs, ",
    "clean photos -o out --method blur": "no method 'blur'; there are lgs, ",
    "clean photos -o out --method lgs:gamma=1": "it has smoothing, threshold, block_size, overlap",
    "clean photos -o out --method lgs:0.2": "is not NAME=VALUE, as in lgs:threshold=0.2",
    "clean photos -o out --param 0.2": "is not NAME=VALUE, as threshold=0.2",
    "clean photos -o out --param threshold:0.2": "is not NAME=VALUE, as threshold=0.2",
    "clean photos -o out --param treshold=0.2": "it has smoothing, threshold, block_size, overlap",
    "clean photos -o out --method lgs,": "no method ''; there are lgs, ",
    "clean photos -o out --method lgs:threshold=abc": "threshold is 'abc'; valid is a number",
    "clean photos -o out --method double-mask":
        "double-mask needs a model: the .onnx file of your classifier",
    "clean photos -o out --method jpeg --threshold 1": "no parameter 'threshold'; it has quality",
    "clean photos -o out --method double-mask --model net.pt2":
        "net.pt2: not an .onnx file, and no other kind is taken",
    "clean photos -o out --fill blur": "--fill needs --method localize",
    "clean photos -o out --method localize --fill red": "valid is inpaint|blur|mean",
    "clean photos -o out --method localize --detector gone.onnx": "an .onnx file that is there",
    "clean photos -o out --method localize --detector notes.txt": "lgs train makes one",
    "scan photos --threshold 2": "threshold is 2; valid is 0 to 1",
    # values from elsewhere
    "clean photos -o out --config gone.toml": "--config gone.toml: no such file or directory",
    "clean photos -o out --config broken.toml": "broken.toml: not TOML: ",
    "clean photos -o out --config key.toml": "no key 'treshold' in [clean]; did you mean 'thre",
    "clean photos -o out --config table.toml": "no table [claen]; did you mean 'clean'?",
    "clean photos -o out --config above.toml": "put it below the name of a command: [clean]",
    "clean photos -o out --config range.toml":
        "threshold is 7; valid is 0 to 1 (--threshold from range.toml)",
    "clean photos -o out --config type.toml":
        "--jobs: '2.5' is no whole number; valid is at least 1 (--jobs from type.toml)",
    # models
    "evaluate --images photos": "--model MODEL is missing: FILE.onnx (no gradients), FILE.pt2, ",
    "train --images photos -o d.onnx": "lgs train needs torch: pip install 'lgs-cli[eval]'",
    "evaluate --model notes.txt --images photos":
        "model 'notes.txt' is not FILE.onnx, FILE.pt2, FILE.pt or package.module:factory, nor ",
    "evaluate --model net.pt2 --images photos": "needs torch: pip install 'lgs-cli[eval]'",
    "evaluate --model c.png --images photos --defense lsg": "no method 'lsg'; did you mean 'lgs'?",
    "evaluate --model c.png --images photos --attack lavn": "no attack 'lavn'; did you mean ",
    "evaluate --model c.png --images photos --format xml": "valid is text, markdown, csv, json",
    "evaluate --model c.png --images photos --resume": "--resume needs --keep DIR",
    "attack lavan": "usage: lgs attack lavan IMAGES --output DIR --model MODEL",
    "attack lavan photos -o out --model net.pt2 --location middle":
        "location is 'middle'; valid is random|border|corner|X,Y",
    "attack patch photos -o out --model net.pt2 --steps 0": "steps is 0; valid is at least 1",
    "certify photos --model net.onnx --patch-fraction 2": "patch_fraction is 2; valid is ",
    "tune --model net.pt2 --images photos --threshold a,b": "numbers separated by commas",
}  # fmt: skip


def test_there_are_fifty_of_them():
    assert len(MISTAKES) >= 50


def test_a_value_of_the_environment_is_named_with_its_variable(lgs, place):
    wrong = {
        "LGS_CLEAN_JOBS=many": "--jobs: 'many' is no whole number; valid is at least 1 "
        "(--jobs from LGS_CLEAN_JOBS)",
        "LGS_CLEAN_QUIET=maybe": "--quiet: 'maybe' is not valid; valid is true, false "
        "(--quiet from LGS_CLEAN_QUIET)",
        "LGS_CLEAN_TRESHOLD=1": "environment: no option has the name LGS_CLEAN_TRESHOLD; "
        "did you mean LGS_CLEAN_THRESHOLD?",
    }
    for setting, answer in wrong.items():
        name, value = setting.split("=")
        run = lgs("clean", "photos", "-o", "out", cwd=place, env={name: value})
        assert (run.returncode, run.stderr) == (2, f"lgs: {answer}\n")


@pytest.mark.parametrize(
    "line", ["compare photos/a.jpg -o /proc/s.png", "report run.jsonl -o /proc/s.png"]
)
def test_a_result_that_cannot_be_written_is_named(lgs, place, line):
    (lgs.folder / "run.jsonl").touch()
    (lgs.folder / "photos").symlink_to(place / "photos")
    run = lgs(*line.split())
    assert (run.returncode, run.stdout) == (1, b"")
    assert run.stderr == "lgs: /proc/s.png: cannot write: no such file or directory\n"


@pytest.mark.parametrize(("line", "answer"), MISTAKES.items())
def test_a_mistake_gets_one_line(lgs, place, line, answer):
    path = f"{place / 'blocked'}:{lgs.environment['PYTHONPATH']}"
    before = snapshot(place)
    environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}  # nothing new in `place`
    run = lgs(*shlex.split(line), cwd=place, env=environment)
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.startswith("lgs: ") and run.stderr.count("\n") == 1
    assert answer in run.stderr
    assert snapshot(place) == before


MISSING = [
    "clean gone -o out",
    "clean gone -o b.png",
    "clean gone -o -",
    "clean gone --in-place --yes",
    "clean gone -o out --watch",
    "clean photos gone -o out",
    "clean --files-from gone -o out",
    "scan gone",
    "compare photos/a.jpg gone -o s.png",
    "report gone -o r.html",
    "evaluate --model gone.onnx --images photos",
    "evaluate --model c.png:x --images gone",
    "attack lavan gone -o out --model gone.onnx",
    "tune --images gone --model gone.onnx",
    "config --config gone",
]


@pytest.mark.parametrize("line", MISSING)
def test_a_missing_input_is_exit_code_2_everywhere(lgs, place, line):
    before = snapshot(place)
    run = lgs(*shlex.split(line), cwd=place)
    assert (run.returncode, run.stdout) == (2, b"")
    assert "gone" in run.stderr and run.stderr.count("\n") == 1
    assert snapshot(place) == before


NO_IMAGE = {
    "clean empty -o out": "no image found in empty: no name ends in one of .jpg .png ",
    "scan empty": "no image found in empty: no name ends in one of .jpg .png ",
    "clean photos -o out --include '*.JPG'": "--include or --exclude may leave out all",
    "clean --files-from nothing -o out": "no image found: the list of --files-from is empty",
    "scan --files-from nothing": "no image found: the list of --files-from is empty",
    "scan --files-from - -0": "no image found: the list of --files-from is empty",
}


@pytest.mark.parametrize(("line", "answer"), NO_IMAGE.items())
def test_no_image_is_an_exit_code_of_its_own(lgs, place, line, answer):
    run = lgs(*shlex.split(line), cwd=place)
    assert (run.returncode, run.stdout) == (3, b"")
    assert run.stderr.startswith("lgs: ") and answer in run.stderr
    assert not (place / "out").exists()


# What other programs would say no to is understood.


def test_a_directory_may_be_named_like_an_image(lgs, place):
    out = lgs.folder / "out.jpg"
    out.mkdir()
    assert lgs("clean", "b.jpg", "-o", out, cwd=place).returncode == 0
    assert (out / "inside.jpg").is_file()


@pytest.mark.parametrize(
    ("path", "name"), [("c.png", "b.txt/"), ("photos", "c.tar/"), ("photos", "out.v2")]
)
def test_a_directory_may_be_named_like_a_file(lgs, place, path, name):
    run = lgs("clean", path, "-o", f"{lgs.folder}/{name}", cwd=place)
    assert run.returncode == 0
    assert list((lgs.folder / name).glob("*.[jp][pn]g"))
    again = lgs("clean", path, "-o", lgs.folder / name, cwd=place)  # it is there, so no slash
    assert again.returncode == 0


@pytest.mark.parametrize("words", [["--method", "JPG"], ["--method", "jpg:quality=75"]])
def test_jpg_is_jpeg(lgs, place, words):
    assert lgs("clean", "photos", "-o", lgs.folder / "one", *words, cwd=place).returncode == 0
    usual = ["--method", words[1].lower().replace("jpg", "jpeg")]
    assert lgs("clean", "photos", "-o", lgs.folder / "two", *usual, cwd=place).returncode == 0
    one, two = ((lgs.folder / name / "a.jpg").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(("name", "suffix"), [("jpg", "jpg"), (".TIF", "tif"), ("ppm", "ppm")])
def test_a_suffix_is_a_format(lgs, place, name, suffix):
    assert lgs("clean", "c.png", "-o", lgs.folder, "--format", name, cwd=place).returncode == 0
    kinds = {"jpg": "JPEG", "tif": "TIFF", "ppm": "PPM"}
    with Image.open(lgs.folder / f"c.{suffix}") as picture:
        assert picture.format == kinds[suffix]


def test_underscores_in_the_name_of_a_method(lgs, place):
    run = lgs("clean", "photos", "-o", lgs.folder / "out", "--method", "Bit_Depth", cwd=place)
    assert run.returncode == 0
