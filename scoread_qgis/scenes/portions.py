"""How much of a file to read at a time: what fits into the memory, in whole blocks of the file."""

from __future__ import annotations

from dataclasses import dataclass

from osgeo import gdal

from .gdal_calls import open_dataset

ARRAYS = 12  # of the size of a block, float32, that reading and detecting hold at a time
FEWEST_ROWS = 24  # of a block beside those of its context: fewer would leave much of the work to the context
_STEP = 256  # columns of the tiles of maps, whose strips end where a tile does
_MOST_PIXELS = 2**17  # a hundred thousand pixels or so are plenty for any processor


@dataclass(frozen=True)
class FileBlocks:
    """The blocks that a file is decoded in.

    rows, columns: of a block. pixel_bytes: what a pixel takes in GDAL's cache of decoded blocks, over all bands that it is decoded with.
    width: columns of the file.
    """

    rows: int
    columns: int
    pixel_bytes: int
    width: int

    @classmethod
    def of(cls, dataset: gdal.Dataset) -> FileBlocks:
        """Of a dataset; for a virtual one, the blocks of its first source."""
        columns, rows = dataset.GetRasterBand(1).GetBlockSize()
        if dataset.GetDriver() is not None and dataset.GetDriver().ShortName == "VRT":
            for path in (dataset.GetFileList() or [])[1:]:
                source, _ = open_dataset(path)
                if source is not None and source.RasterCount:
                    columns, rows = (max(sizes) for sizes in zip((columns, rows), source.GetRasterBand(1).GetBlockSize()))
                    break
        value_bytes = max(gdal.GetDataTypeSize(dataset.GetRasterBand(number).DataType) // 8 for number in range(1, dataset.RasterCount + 1))
        return cls(rows, columns, value_bytes * dataset.RasterCount, dataset.RasterXSize)

    def row_of_blocks(self, width: int) -> int:
        """Bytes of the decoded blocks that some rows of a window of so many columns lie in."""
        columns = min(self.width, (width // self.columns + 2) * self.columns)
        return self.rows * columns * self.pixel_bytes


def rows_within(memory: float, columns: int, bands: int, block_rows: int = 1) -> int:
    """Rows to read at a time: as many as fit into `memory` bytes as a dozen float32 arrays of this width, in multiples of `block_rows`.

    It is never more than a hundred thousand pixels or so.
    """
    rows = int(min(memory / (columns * bands * 4 * ARRAYS), _MOST_PIXELS / columns))
    return max(rows - rows % block_rows if rows > block_rows else rows, 1)


def columns_within(memory: float, columns: int, bands: int, blocks: FileBlocks, context: int = 0, margin: int = 0) -> int:
    """Columns to work on at a time, `columns` where all fit into `memory` bytes: a dozen float32 arrays of `FEWEST_ROWS` rows with
    `context` on all sides and a further `margin` on the left and the right, and what the file decodes for them.

    They are no fewer than `_STEP` and what is around them, whatever the memory.
    """
    rows, around = FEWEST_ROWS + 2 * context if context else 1, 2 * (context + margin)

    def taken(width: int) -> int:
        return rows * width * bands * 4 * ARRAYS + blocks.row_of_blocks(width)

    if taken(min(columns + around, blocks.width)) <= memory:
        return columns
    most = _STEP
    while most + _STEP < columns and taken(most + _STEP + around) <= memory:
        most += _STEP
    return most
