"""``lgs`` as if a few images were very many, so that it has to work with little memory."""

from __future__ import annotations

from shell import Lgs

FEW = """
import lgs_cli.batch.early, lgs_cli.batch.index, lgs_cli.batch.run, lgs_cli.batch.sources
import lgs_cli.batch.remote, lgs_cli.storage.spool, lgs_cli.storage.stores.store
lgs_cli.batch.sources.AHEAD = 3
lgs_cli.batch.early.MOST = lgs_cli.batch.run._FEW = 2
lgs_cli.batch.index.MOST = lgs_cli.storage.spool.MOST = 2
lgs_cli.batch.run._MANY = 4
lgs_cli.batch.remote._LINES = lgs_cli.batch.remote._PARTS = lgs_cli.storage.stores.store._PAGE = 2
lgs_cli.batch.remote._LARGE = 1500
from lgs_cli.__main__ import main
main()
"""


class FewAhead(Lgs):
    """``lgs``, to which three images are very many."""

    def command(self, *words: object) -> list[str | bytes]:
        head, *rest = super().command(*words)
        place = rest.index("-m")
        return [head, *rest[:place], "-c", FEW, *rest[place + 2 :]]
