"""Whether all of an HDF5 data set is in its file, asked before a value is read.

The HDF5 library trusts what a file says of its chunks: it ends the process where a packed chunk has no bytes, and reads
memory that is not the file's where a plain one has too few. What was never written reads as zeros, and every episode
would look safe.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_MAX_CHUNK_BYTES = 2**28  # unpacked at once
_SAME_SIZE = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}  # filters that do not shorten a chunk
_UNWRITTEN = "was never written in full; rows that are missing would read as zeros"


def storage_problem(dataset: h5py.Dataset) -> str | None:
    """What is wrong with how a data set is stored, as the end of a sentence; None where nothing is."""
    if dataset.is_virtual or dataset.external:
        return "is kept in other files (virtual or external); data sets have to lie in this one"
    if dataset.chunks is None:
        return None if dataset.id.get_storage_size() >= dataset.nbytes else _UNWRITTEN
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if size > _MAX_CHUNK_BYTES:
        return f"has chunks of {dataset.chunks}; at most {_MAX_CHUNK_BYTES} bytes are unpacked"
    needed = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    if dataset.id.get_num_chunks() != needed:
        return _UNWRITTEN
    return next(_chunk_problems(dataset, size), None)


def read_stored(group: h5py.Group, name: str) -> NDArray[Any]:
    """All values of a data set of a file that others made.

    Raises:
        KeyError: there is none of this name.
        OSError: it lies in another file, or not all of it is there.
    """
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset):
        raise KeyError(f"{name} is no data set")
    if dataset.file.filename != group.file.filename:
        raise OSError(f"{name} is a link to another file")
    if problem := storage_problem(dataset):
        raise OSError(f"{name} {problem}")
    return np.asarray(dataset[()])


def _chunk_problems(dataset: h5py.Dataset, size: int) -> Iterator[str]:
    """What is wrong with the chunks of a data set, each of `size` bytes when it is unpacked."""
    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(place)[0] for place in range(pipeline.get_nfilters())]
    end = os.stat(dataset.file.filename).st_size
    chunks: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        skipped = {number for place, number in enumerate(filters) if chunk.filter_mask >> place & 1}
        packs = [number for number in filters if number not in {*skipped, *_SAME_SIZE}]
        if chunk.size < (1 if packs else size) or chunk.byte_offset + chunk.size > end:
            yield f"has a damaged chunk at row {chunk.chunk_offset[0]}; get the file again"
