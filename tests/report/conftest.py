"""A browser for pages, and folders as `composir eval` writes them, made of chance instead of a method."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from composir.evaluation.protocol import task_protocol
from composir.evaluation.results import COLUMNS, Result
from composir.reporting import write_report
from composir.types import Query, Task

SKILL = {"slerp": 3.0, "image-only": 1.2, "text-only": 1.5, "sum": 2.6}
"""By how many standard deviations the right pictures are ahead of the others."""
KEPT = 50


def small_task(name: str = "dress", queries: int = 24, gallery: int = 80, **more: Any) -> Task:
    """A task over ids that belong to no data set; each query has one target."""
    ids = tuple(f"{name}-{i}" for i in range(gallery))
    asked = tuple(
        Query(f"q{i}", ids[i], (f"is the {i}th",), (ids[(7 * i + 3) % gallery],)) for i in range(min(queries, gallery))
    )
    fields: dict[str, Any] = {"metrics": ("R@1", "R@10", "R@50"), "drop_reference": False, "queries": asked, **more}
    return Task(name, ids, **fields)


def _write_run(
    folder: Path,
    tasks: Sequence[Task] | None = None,
    *,
    skill: Mapping[str, float] = SKILL,
    data: Mapping[str, Any] | None = None,
    averages: Mapping[str, tuple[str, ...]] | None = None,
    partial: bool = False,
    warnings: Sequence[str] = (),
    seed: int = 0,
    title: str | None = None,
    **protocol: Any,
) -> Path:
    """Write an evaluation whose first method is the first of `skill`, the others its baselines."""
    tasks = [small_task()] if tasks is None else tasks
    tables, blocks = [], {}
    for number, (method, lead) in enumerate(skill.items()):
        scored = [_answer(task, method, lead, np.random.default_rng([seed, number, i])) for i, task in enumerate(tasks)]
        tables += [table for table, _ in scored]
        told = [block for _, block in scored]
        blocks[method] = {"tasks": told, **_averaged(told, averages or {})}
    first, *others = skill
    missing = {"images": 3, "queries": 2, "listed": ["a", "b", "c"]} if partial else {"images": 0, "queries": 0}
    opened = {"name": "fashioniq", "root": None, "split": "val", "arguments": {}, **(data or {})}
    content = {
        "format": 1,
        "method": first,
        "protocol": {
            "data": title or opened["name"],
            "split": opened["split"],
            "tasks": [task_protocol(task) for task in tasks],
            "method": {"name": first, "arguments": {"alpha": 0.8}},
            "partial": partial,
            "missing": missing,
            **protocol,
        },
        **blocks[first],
        "baselines": {name: blocks[name] for name in others},
        "warnings": list(warnings),
        "created": "2026-03-12T11:44:00+00:00",
        "data": opened,
    }
    metrics = list(dict.fromkeys(name for table in tables for name in table.column_names if name not in COLUMNS))
    whole = pa.concat_tables(tables, promote_options="default").select([*COLUMNS, *metrics])
    Result(content, whole).save(folder)
    return folder


def _answer(task: Task, method: str, lead: float, rng: np.random.Generator) -> tuple[pa.Table, dict[str, Any]]:
    """Scores of chance, the targets' raised by `lead`; every metric by its definition."""
    row = {image: i for i, image in enumerate(task.gallery)}
    scores = rng.standard_normal((len(task.queries), len(row))).astype(np.float32)
    rows: list[dict[str, Any]] = []
    for query, own in zip(task.queries, scores, strict=True):
        targets = [row[target] for target in query.targets]
        own[targets] += np.float32(lead) * rng.random()
        order = np.argsort(-own, kind="stable")
        place = {int(i): rank for rank, i in enumerate(order, 1)}
        ranks = [place[i] for i in targets]
        found = {"method": method, "task": task.name, "query": query.id, "reference": query.reference}
        found |= {
            "text": query.text,
            "targets": list(query.targets),
            "rank": 0 if task.hidden else min(ranks),
            "subset_rank": 0,
            "ties": 0,
        }
        found |= {"top": [task.gallery[i] for i in order[:KEPT]], "scores": own[order[:KEPT]].tolist()}
        found |= {"aspects": list(query.aspects)}
        for name in task.metrics:
            found |= _values(name, query, np.array(ranks))
        rows.append(found)
    names = [name for name in dict.fromkeys(key for found in rows for key in found) if name not in COLUMNS]
    schema = pa.schema([*COLUMNS.items(), *((name, pa.float64()) for name in names)])
    block: dict[str, Any] = {"name": task.name, "queries": len(rows), "gallery": len(row), "tied": 0}
    means = {name: 100 * float(np.mean([found[name] for found in rows if name in found])) for name in names}
    spread = {name: [max(0.0, mean - 6), min(100.0, mean + 6)] for name, mean in means.items()}
    counts = {name: sum(name in found for found in rows) for name in names}
    return pa.Table.from_pylist(rows, schema=schema), {**block, "metrics": means, "intervals": spread, "counts": counts}


def _values(name: str, query: Query, ranks: np.ndarray) -> dict[str, float]:
    stem, _, aspects = name.partition("/")
    kind, _, k = stem.partition("@")
    within = np.sort(ranks[ranks <= int(k)])
    hit = float(len(within) > 0)
    precise = float(np.sum(np.arange(1, len(within) + 1) / within)) / min(len(ranks), int(k))
    value = precise if kind == "mAP" else hit
    return {f"{stem}/{aspect}": value for aspect in query.aspects} if aspects else {name: value}


def _averaged(blocks: Sequence[Mapping[str, Any]], averages: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    mean = {
        name: float(np.mean([block["metrics"][metric] for block in blocks for metric in metrics]))
        for name, metrics in averages.items()
    }
    return {"average": mean, "average_intervals": {name: [value - 4, value + 4] for name, value in mean.items()}}


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """write_run(folder, tasks, …) writes an evaluation and gives the folder."""
    return _write_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run("name", tasks, …) writes an evaluation as `_write_run` does and gives its folder."""
    return lambda name="run", *args, **kwargs: _write_run(tmp_path / name, *args, **kwargs)


@dataclass
class Element:
    """An element of a page, as a browser would understand it."""

    name: str
    attributes: dict[str, str]
    parts: list[Any] = field(default_factory=list)  # text and elements

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def all(self, name: str = "", class_: str = "") -> list[Element]:
        """Elements below this one, in the page's order."""
        found = []
        for part in self.parts:
            if isinstance(part, Element):
                found += [part] if name in ("", part.name) and (not class_ or class_ in part.classes) else []
                found += part.all(name, class_)
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {key: value or "" for key, value in attrs})
        self.open[-1].parts.append(element)
        if tag not in ("meta", "br"):
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().name == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.open[-1].parts.append(data)


def read_page(path: Path) -> Element:
    """A page's elements; every one must be closed in its place."""
    parser = _Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    [root] = parser.open
    return root


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Element]:
    """page([folder, …], worst=3) writes a report and reads it back."""

    def make(folders: Path | Sequence[Path], **options: Any) -> Element:
        write_report([folders] if isinstance(folders, Path) else folders, tmp_path / "report.html", **options)
        return read_page(tmp_path / "report.html")

    return make


class Browser:
    """A headless Chromium that writes down what a page asks for and complains of."""

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, page: Path | str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a file or an address, in a window of that many CSS pixels; what was written down before is forgotten."""
        window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **window)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(page if isinstance(page, str) else page.resolve().as_uri())

    def command(self, name: str, **arguments: Any) -> Any:
        """One command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        """What JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> list[Any]:
        """Elements by CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened, the page's own among them."""
        messages = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        asked = ("Network.requestWillBeSent", "Network.webSocketCreated")
        return [m["params"].get("request", m["params"])["url"] for m in messages if m["method"] in asked]

    def complaints(self) -> list[str]:
        """What stands on the console since the page was opened, and what its security policy forbade."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window; 0 where it cannot be scrolled sideways."""
        return self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG, however long it is."""
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="session")
def browser(machine_browser: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The machine's own Chromium."""
    driver = _chromium(*machine_browser, tmp_path_factory.mktemp("chromium"))
    yield Browser(driver)
    driver.quit()


def _chromium(binary: str, driver_path: str, profile: Path) -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    quiet = ["quic", "background-networking", "component-update", "sync", "gpu", "default-apps", "domain-reliability"]
    for flag in [
        "headless=new",
        "no-sandbox",
        "no-first-run",
        f"user-data-dir={profile}",
        *(f"disable-{q}" for q in quiet),
    ]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # The path is given, so that selenium asks nobody for a driver.
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    driver.set_page_load_timeout(60)
    return driver
