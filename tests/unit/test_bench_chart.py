"""The picture of a measurement."""

from xml.etree import ElementTree as ET

from bench.chart import draw

_SVG = "{http://www.w3.org/2000/svg}"


def test_medians_spreads_and_ratios_are_drawn() -> None:
    seconds = {"peer <1>": (8.0, 10.0, 9.0), "orlop": (4.0, 2.0, 3.0)}
    samples = [
        {"peer": peer, "seconds": one}
        for turn in range(3)
        for peer, one in ((name, many[turn]) for name, many in seconds.items())
    ]
    root = ET.fromstring(draw({"image": "a & b", "kernel": "6.1", "samples": samples}))
    texts = [one.text for one in root.iter(f"{_SVG}text")]
    assert {"a & b", "kernel: 6.1", "peer <1>", "9.00 s"} <= set(texts)
    assert "3.00 s  (3.00 times as fast)" in texts
    bars = [float(one.get("width", 0)) for one in root.iter(f"{_SVG}rect")][1:]
    assert bars == [468.0, 156.0]
    spread = list(root.iter(f"{_SVG}line"))[1]
    assert (spread.get("x1"), spread.get("x2")) == ("234.0", "338.0")
