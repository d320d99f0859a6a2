"""Results as a table in Markdown, and that table kept in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.packaging.peers import FORMATS
from bench.page import as_table, keep_table, reach

_Row = tuple[str, str, str, str, str]


def rows(results: dict[str, Any]) -> Iterator[_Row]:
    """What was measured, Sluice, its peer, the ratio, and what was to be reached."""
    for kind, one in results.get("packaging", {}).items():
        yield from _packaging(kind, one)
    if "memory" in results:
        yield from _memory("archive made on the fly, artifact dropped", results["memory"])
    if "s3" in results:
        yield from _memory("from S3 to S3", results["s3"])
        yield from _s3(results["s3"])
    if "images" in results:
        yield from _images(results["images"])
    if "copy" in results:
        yield from _copy(results["copy"])


def _packaging(kind: str, one: dict[str, Any]) -> Iterator[_Row]:
    size, ours, floor = _size(one["size"]), one["written"]["package"], one["floor"]
    what = f"{size} {kind} weights, tar.gz to .mar"
    for form in FORMATS:
        goal = form == "default"
        if "missing" in one:
            if goal:
                yield (
                    what,
                    _seconds(ours),
                    f"torch-model-archiver: not measured, {one['missing']}",
                    "-",
                    "≥ 8 x: unknown",
                )
            continue
        peer = one["archiver"][form]
        ratio = peer["wall"] / ours["wall"]
        name = f"torch-model-archiver {one['archiver version']}, {form}"
        yield (
            what,
            _seconds(ours),
            f"{name} {_seconds(peer)}",
            _times(ratio),
            reach("≥ 8 x", ratio >= 8) if goal else "-",
        )
    ours = one["dropped"]["package"]
    ratio = ours["wall"] / floor["wall"]
    yield (
        f"{what}, not written anywhere",
        _seconds(ours),
        f"unpack and sha256 alone {_seconds(floor)}",
        f"{ratio:.2f} x the time, {ours['cpu'] / floor['cpu']:.2f} x the CPU",
        reach("≤ 1.3 x", ratio <= 1.3),
    )
    yield from _with_scan(what, one)
    libraries = one["libraries"]
    others = ", ".join(f"{name} {found['cpu']:.2f} s" for name, found in libraries.items() if name != "zlib-ng")
    ratio = libraries["zlib"]["cpu"] / libraries["zlib-ng"]["cpu"]
    yield (
        f"{what.partition(',')[0]}, unpack alone, CPU",
        f"zlib-ng {libraries['zlib-ng']['cpu']:.2f} s",
        others,
        (_times(ratio)),
        "-",
    )


def _with_scan(what: str, one: dict[str, Any]) -> Iterator[_Row]:
    scanned, packaged, floor = one["written"]["scan"], one["written"]["package"], one["floor"]
    total = {name: scanned[name] + packaged[name] for name in ("wall", "cpu")}
    peer, ratios = f"unpack and sha256 alone {_seconds(floor)}", f"{total['wall'] / floor['wall']:.2f} x the time"
    if "archiver" in one:
        default = one["archiver"]["default"]
        peer = f"torch-model-archiver, default {_seconds(default)}; {peer}"
        ratios = f"{_times(default['wall'] / total['wall'])}; {ratios}"
    yield f"{what}, with the scan before it", _seconds(total), peer, ratios, "-"


def _memory(how: str, sizes: dict[int, dict[str, Any]]) -> Iterator[_Row]:
    peaks = [one["rss"] for one in sizes.values()]
    shown = ", ".join(f"{_size(size)} {one['rss'] / 1e6:.0f} MB" for size, one in sizes.items())
    flat = max(peaks) <= 200e6 and max(peaks) - min(peaks) <= 20e6
    spread = f"{(max(peaks) - min(peaks)) / 1e6:.0f} MB apart"
    yield (
        f"peak memory, scan and package, {how}; no file may be written",
        shown,
        "-",
        spread,
        reach("≤ 200 MB, flat", flat),
    )


def _s3(sizes: dict[int, dict[str, Any]]) -> Iterator[_Row]:
    for size, one in sizes.items():
        server = f"SeaweedFS {one['server']:.1f} s CPU on the same cores, for scan and package"
        yield f"{_size(size)} random weights, tar.gz to .mar, from S3 to S3", _seconds(one["package"]), server, "-", "-"


def _images(one: dict[str, Any]) -> Iterator[_Row]:
    if "missing" in one:
        yield ".mar to image", "-", f"not measured: {one['missing']}", "-", "unknown"
        return
    what, ours = f"{_size(one['size'])} .mar to image, pushed to docker-registry", one["built"]["first"]
    if "buildah" in one:
        peer = one["buildah"]
        ratio = peer["wall"] / ours["wall"]
        yield what, _seconds(ours), f"buildah bud and push {_seconds(peer)}", _times(ratio), reach("≥ 5 x", ratio >= 5)
    else:
        yield what, _seconds(ours), f"buildah: not measured, {one['no buildah']}", "-", "≥ 5 x: unknown"
    floor = one["sent"]
    ratio = ours["wall"] / floor["wall"]
    cpu = f"{ours['cpu'] / floor['cpu']:.2f} x the CPU"
    yield (
        "the same",
        _seconds(ours),
        f"hash and send the .mar, nothing else {_seconds(floor)}",
        f"{ratio:.2f} x the time, {cpu}",
        reach("≤ 1.3 x", ratio <= 1.3),
    )
    counted = one["counted"]
    first, again, changed = counted["first"], counted["again"], counted["handler"]
    more = first["up"] - counted["size"]
    yield "bytes sent beyond the .mar's", f"{more / 1e3:.0f} kB", "-", "-", reach("< 100 kB", more < 100_000)
    yield (
        "second build of the same version",
        f"{again['requests']} requests, {again['blobs']} blobs",
        "-",
        "-",
        reach("≤ 10 requests, no blob", again["requests"] <= 10 and not again["blobs"]),
    )
    yield (
        "only the handler changed",
        f"{changed['up'] / 1e3:.0f} kB in {changed['blobs']} blobs",
        "-",
        "-",
        reach("only the small layer", changed["up"] < 100_000),
    )


def _copy(one: dict[str, Any]) -> Iterator[_Row]:
    what = "first copy of a base of 8 GiB in 8 layers, killed by kill -9 half-way, and again"
    if "missing" in one:
        yield what, "-", f"not measured: it needs {one['missing']}", "-", "unknown"
        return
    left = one["layers"] - one["done"]
    shown = f"{one['done']} layers before, {one['sent']} after, {one['again']['rss'] / 1e6:.0f} MB peak"
    good = one["sent"] == left and one["again"]["rss"] <= 200e6
    yield what, shown, "-", "-", reach("no finished blob again, ≤ 200 MB", good)


def _seconds(one: dict[str, Any]) -> str:
    return f"{one['wall']:.2f} s, CPU {one['cpu']:.2f} s"


def _times(ratio: float) -> str:
    return f"{ratio:.1f} x"


def _size(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def table(results: dict[str, Any]) -> str:
    """The table, with a line above it that says where and when."""
    return as_table(rows(results), ("zlib-ng", "boto3", "httpx"))


def keep(results: dict[str, Any]) -> None:
    """Put the table where the last one was."""
    keep_table(table(results), "packaging")
