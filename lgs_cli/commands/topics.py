"""What ``lgs help TOPIC`` prints: how lgs works together with other programs."""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    """One text.

    Attributes
    ----------
    summary : str
        On one line.
    text : str
        At most 80 columns wide.
    """

    summary: str
    text: str


_ARCHIVES = Topic(
    "Tar and Parquet archives, and object stores.",
    """\
    lgs clean 'shard-{000..999}.tar' -o out     WebDataset
    lgs clean train.parquet -o out              pip install 'lgs-cli[parquet]'
    lgs clean s3://bucket/in -o s3://bucket/out 'lgs-cli[remote]', and s3fs
    lgs clean 's3://bucket/shard-{000..999}.tar' -o s3://bucket/out
    lgs scan 'shard-{000..999}.tar' --json

Archives go in a run of their own. lgs itself writes out braces, here in quotes;
patterns as *.tar are for the shell. Stores are those that fsspec opens, with
its packages: s3fs, gcsfs, adlfs.

An archive becomes one of the same name, in which all but the images stays as it
is. It appears when it is whole: its images count as done then, and not before.
A broken image is named, the exit code is 1, and it is left out: in Parquet its
cell is null, or empty if it cannot be null. Symbolic links and sparse files in
a tar are left out too; a hard link to an image becomes an image. The next run
does all of that archive again; with --skip-unsupported only if something has
changed. In a tar the mask of x.jpg is x.png.

What goes with what:

                       files  a list  tar  Parquet  in a store
    --masks            yes    yes     yes  no       yes
    --report           yes    yes     yes  yes      yes
    --shard            yes    yes     yes  yes      yes
    --cluster          yes    yes     yes  yes      yes
    --skip-unsupported yes    yes     yes  yes      no
    --wait             yes    yes     yes  yes      no
    --delete           yes    no      no   no       no
    --preserve-times   yes    yes     no   no       no
    --in-place         yes    yes     no   no       no
    --watch            yes    no      no   no       no
    lgs_cli (Python)   yes    -       no   no       no

--shard divides archives, and not the images in them, by a hash of their names:
with few of them the parts differ in size.

What has been done in a store is recorded every 10,000 images or 60 seconds, and
at the end. After kill -9 a later run does up to so many again.
""",
)

_CONFIG = Topic(
    "Values of options from a file or the environment.",
    """\
Every option can stand in a file. lgs reads lgs.toml in the current directory;
if there is none, the table [tool.lgs] of pyproject.toml there; or what --config
names. Each command has a table of its own:

    [clean]
    method = "lgs:threshold=0.05"
    exclude = ["draft*", "*.gif"]
    jobs = 4
    optimize = true

    [scan]
    threshold = 0.6

    [attack.lavan]
    steps = 100

In pyproject.toml the tables are [tool.lgs.clean] and so on.

Every option can also stand in the environment; several values are separated by
spaces, in paths by colons:

    LGS_CLEAN_JOBS=4 LGS_SCAN_THRESHOLD=0.6 LGS_ATTACK_LAVAN_STEPS=100

The command line counts first, then the environment, then the file, then the
default. A parameter is best written behind the name of its method, as above: a
--method on the command line then replaces both.

    lgs config clean            show the values, and where each comes from
    lgs config > lgs.toml       write a file to start from
    lgs clean photos -o cleaned --config /dev/null    take no file

A key, a table or a variable that belongs to no option is an error. The key
"command" of a report has the options that came from elsewhere written out, and
says where from.
""",
)

_CRON = Topic(
    "Every night from cron.",
    """\
What is done already is skipped, so a job that runs every night cleans what is
new. Two that overlap exclude each other: the second one ends with exit code 4.

    # m h dom mon dow  command
    17 3 * * *  cd /srv/photos && lgs clean uploads -o cleaned -q

-q prints failures only, and cron mails what is printed. Exit code 1 means that
some image failed: the others are done, and the next night tries it again.

For less than a night see 'lgs help watch'.
""",
)

_MAKE = Topic(
    "In a Makefile.",
    """\
One target for a folder; lgs knows itself what is up to date:

    .PHONY: cleaned
    cleaned:
    \tlgs clean photos -o cleaned -q

Or a rule for a file, so that make decides, and make -j works on several:

    cleaned/%.jpg: photos/%.jpg
    \tlgs clean $< -o $@ -q
    all: $(patsubst photos/%,cleaned/%,$(wildcard photos/*.jpg))

The first one is faster: lgs starts once, and keeps all cores busy.
""",
)

_FIND = Topic(
    "Together with find, xargs and pipes.",
    """\
A list of paths, of any length and with any names; relative ones keep their
folders below the output directory:

    find photos -name '*.jpg' -mtime -1 -print0 |
        lgs clean --files-from - -0 -o cleaned
    git ls-files -z '*.png' | lgs clean --files-from - -0 -o cleaned

One image as a filter, or between two files:

    curl -s https://example.org/a.jpg | lgs clean - -o - > a.jpg
    lgs clean a.jpg -o b.webp

In place, with the original kept as a.jpg.orig:

    find photos -name '*.jpg' -print0 |
        lgs clean --files-from - -0 --in-place --backup .orig

What a scan finds, to another program; -0 for names of any kind:

    lgs scan uploads --found-only -0 | xargs -0 -r ls -l --
    lgs scan uploads --json | jq -r 'select(.score > 0.9) | .source'
""",
)

_IN_PLACE = Topic(
    "What --in-place does, and when it skips.",
    """\
    lgs clean photos --in-place --backup .orig     keep each original
    lgs clean photos --in-place --yes              keep none

The original of a.jpg is kept as a.jpg.orig; --backup orig, without the dot,
does the same.

An image is replaced in one step, when the cleaned one is written to its end: it
is there at any moment, as the old one or the new one. Its permissions stay. If
nothing in it changes it is not touched, and gets no backup.

A backup is never overwritten. If a.jpg.orig is there and holds something else
than a.jpg, then a.jpg fails and stays. Links fail: name what they lead to.

Each directory given gets a hidden .lgs-in-place.jsonl. Files given by name have
it in their own directory. What a run has cleaned with the same settings, and
nobody has changed since, the next run skips. A run that fails changes none of
that. --force --yes cleans it once more. --force --backup .orig does not: an
image that is what cleaning its backup gives stays, and counts as unchanged.
Other settings clean what is there, which is the cleaned image: to begin again,
put the originals back first:

    for b in photos/*.orig; do mv -- "$b" "${b%.orig}"; done
""",
)

_SHARDS = Topic(
    "A run in parts, on several machines.",
    """\
--shard I/N takes the I-th of N parts of the images, always the same ones. The
parts may run at the same time into one output directory:

    lgs clean photos -o cleaned --shard 1/2 --report part-1.jsonl
    lgs clean photos -o cleaned --shard 2/2 --report part-2.jsonl
    lgs report part-1.jsonl part-2.jsonl -o report.html

As an array of jobs on a cluster:

    sbatch --array=1-16 --wrap \\
        'lgs clean photos -o cleaned --shard $SLURM_ARRAY_TASK_ID/16'

On one machine there is no need for it: lgs uses all cores.
""",
)

_WATCH = Topic(
    "Clean what arrives, as a service of systemd.",
    """\
    lgs clean incoming -o cleaned --watch 5

cleans what is there, and then what arrives. A file is taken when its size and
times have stayed the same between two looks, 5 seconds apart. A file that is
written anew is cleaned anew. What fails is said once, and tried again when it
changes. SIGTERM ends it with exit code 0; an image that is being cleaned is
left for the next start.

As a service, /etc/systemd/system/lgs.service:

    [Unit]
    Description=Clean uploads of adversarial patches
    After=local-fs.target

    [Service]
    ExecStart=/usr/local/bin/lgs clean incoming -o cleaned --watch 5
    WorkingDirectory=/srv/uploads
    User=www-data
    Restart=on-failure
    Nice=10

    [Install]
    WantedBy=multi-user.target

    systemctl enable --now lgs
""",
)

_PROGRAMS = Topic(
    "Exit codes, JSON and progress, for programs that call lgs.",
    """\
Exit codes:

    0    all done or up to date
    1    some image failed; the others are done
    2    wrong usage: nothing was done
    3    no image found
    4    another lgs is at work in the same directory
    5    a patch was found, for scan --exit-code
    130  interrupted (SIGINT), 143 (SIGTERM): what is done stays done

On stdout is what was asked for, on stderr all else. Errors are one line each,
'lgs: ' and what is wrong.

    lgs clean photos -o cleaned --report run.jsonl    a JSON object an image
    lgs scan photos --json                            likewise, on stdout
    lgs methods --json                                defenses and parameters
    lgs config --json                                 values of all options

With --progress json lines like this one stand among those on stderr, about two
a second; all others begin otherwise:

    {"event": "progress", "what": "", "done": 120, "total": 240, "found": 240,
     "unit": "image", "seconds": 2.0, "seconds_left": 2.0}

(Here on two lines, there on one.) A run over very many images finds them while
it works: total and seconds_left are null until it has found all.
""",
)

TOPICS = {
    "archives": _ARCHIVES,
    "config": _CONFIG,
    "cron": _CRON,
    "find": _FIND,
    "in-place": _IN_PLACE,
    "make": _MAKE,
    "programs": _PROGRAMS,
    "shards": _SHARDS,
    "watch": _WATCH,
}
