"""Options of runs that are too large for one machine."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.errors import MissingExtraError

if TYPE_CHECKING:
    from lgs_cli.batch.shards import Shard
    from lgs_cli.batch.workers import Cluster

    ShardType = click.ParamType[Shard]
    ClusterType = click.ParamType[Cluster]
else:  # older click has no generic types
    ShardType = ClusterType = click.ParamType


class _ShardNumber(ShardType):
    """One of several parts, as ``3/16``."""

    name = "shard"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Shard:
        from lgs_cli.batch.shards import Shard

        if isinstance(value, Shard):
            return value
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not I/N, as 3/16", param, ctx)
        number, count = map(int, match.groups())
        if not 1 <= number <= count:
            hint = f"; the first is 1/{count}" if number == 0 < count else ""
            self.fail(f"{value!r}: I is from 1 to N{hint}", param, ctx)
        return Shard(number, count)


class _Address(ClusterType):
    """Where a cluster is."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Cluster:
        from lgs_cli.batch.workers import Cluster

        if find_spec("distributed") is None:
            raise MissingExtraError("--cluster", "distributed", "dask")
        return value if isinstance(value, Cluster) else Cluster(str(value))


shard_option = click.option(
    "--shard", type=_ShardNumber(), metavar="I/N",
    help="Take only the I-th of N parts of the images, from 1/N to N/N, as jobs of an array do: "
    "--shard $SLURM_ARRAY_TASK_ID/16 with --array=1-16. The parts may run at the same time.",
)  # fmt: skip

image_column_option = click.option(
    "--image-column", metavar="NAME",
    help="The column of encoded images in a Parquet file, if it has several that could be it.",
)  # fmt: skip

cluster_option = click.option(
    "--cluster", type=_Address(), metavar="ADDRESS",
    help="Have the images done by the workers of a Dask scheduler, as tcp://host:8786, which see "
    "the same files under the same paths; 'local' starts one with --jobs workers here.",
)  # fmt: skip
