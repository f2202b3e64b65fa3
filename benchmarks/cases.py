"""The cases: each runs what a user would type with and without renderfarm, in turn."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks import scenes
from benchmarks.measure import Run, run

FARM = (sys.executable, "-m", "renderfarm")
FLAGS = ("-b", "--factory-startup", "-noaudio", "--disable-autoexec")


@dataclass(frozen=True)
class Result:
    """One row of the table: two figures, and the ratio that the project promises."""

    work: str
    against: str
    ours: float
    theirs: float
    reach: float
    unit: str = "s"
    more_is_better: bool = False
    remark: str = ""

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    @property
    def reached(self) -> bool:
        """Whether the ratio is on the right side."""
        return self.ratio >= self.reach if self.more_is_better else self.ratio <= self.reach


@dataclass
class Bench:
    """A folder to work in, and how often each command is run."""

    folder: Path
    rounds: int = 3
    size: float = 1.0
    """of scenes and frame counts"""
    blender: str = "blender"
    plot: bool = False
    """draw docs/images/simulation.png"""
    _numbers: Iterator[int] = field(default_factory=count)

    def scene(self, name: str) -> Path:
        """A benchmark scene, made when it is not there yet."""
        path = self.folder / "scenes" / name
        if not path.exists():
            make = scenes.SCENES[name]
            extra = {"blender": self.blender} if name.endswith(".blend") else {}
            make(path.parent, self.size, **extra)
        return path

    def frames(self, full: int) -> int:
        """A frame count for this size."""
        return max(4, round(full * min(1.0, self.size * 2)))

    def fresh(self) -> Path:
        """An empty folder."""
        folder = self.folder / f"run{next(self._numbers)}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def submit(self, scene: Path, *options: str, home: Path | None = None, output: Path | None = None) -> Run:
        """`renderfarm submit` with a farm that only knows which Blenders there are, unless a home is given."""
        folder = self.fresh()
        if home is None:
            home = self.new_home(folder / "home")
        argv = [*FARM, "submit", str(scene), "-o", str(output or folder / "out"), *options]
        if scene.suffix == ".blend":
            argv += ["--blender", self.blender]
        done = run(argv, folder, {"RENDERFARM_HOME": str(home)})
        shutil.rmtree(folder)
        return done

    def new_home(self, home: Path) -> Path:
        """A farm home in which the versions of the machine's Blenders are known, as after any first job."""
        from renderfarm.renderers import renderer

        cache = home / "cache"
        cache.mkdir(parents=True)
        os.environ["RENDERFARM_HOME"] = str(self.folder / "known")
        renderer("blender").builds(shutil.which(self.blender))
        shutil.copytree(self.folder / "known" / "cache", cache, dirs_exist_ok=True)
        return home

    def plain(self, argv: list[str]) -> Run:
        """A command in a folder of its own."""
        folder = self.fresh()
        done = run([part.replace("@OUT@", str(folder)) for part in argv], folder)
        shutil.rmtree(folder)
        return done

    def versus(self, ours: Callable[[], Run], theirs: Callable[[], Run]) -> tuple[list[Run], list[Run]]:
        """Both in turn, so that a machine that drifts drifts for both."""
        pairs = [(ours(), theirs()) for _ in range(self.rounds)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def median(runs: list[Run]) -> float:
    """Median wall clock."""
    return statistics.median(one.seconds for one in runs)


def blender_heavy(bench: Bench) -> Iterator[Result]:
    """Geometry and textures weigh more than sampling."""
    yield from _blender(bench, "heavy.blend", 12, 0.65, farm_share=True)


def blender_moving(bench: Bench) -> Iterator[Result]:
    """The heavy scene with every object moving: what can't be kept warm. Nothing is promised but no loss."""
    yield from _blender(bench, "heavy-moving.blend", 12, 1.0, farm_share=False)


def blender_light(bench: Bench) -> Iterator[Result]:
    """Short frames, against one process for all and against one process for each."""
    yield from _blender(bench, "light.blend", 48, 0.90, farm_share=False)
    scene, frames = bench.scene("light.blend"), bench.frames(48)
    ours, theirs = bench.versus(
        lambda: bench.submit(scene, "--frames", f"1-{frames}", "--no-video"),
        lambda: _process_per_frame(bench, scene, frames),
    )
    against = "one Blender process per frame, as many at once as cores"
    yield Result(f"light Blender scene, {frames} frames", against, median(ours), median(theirs), 0.40)


KINDS = ("very-light", "light", "busy", "geometry", "heavy-moving", "textures")


def _kind(name: str, bench: Bench) -> Iterator[Result]:
    """One of six kinds of scenes, which may never be slower than 1.03 of Blender alone and 0.4 s."""
    scene, frames = bench.scene(f"{name}.blend"), bench.frames(12 if name == "heavy-moving" else 48)
    ours, theirs = bench.versus(
        lambda: bench.submit(scene, "--frames", f"1-{frames}", "--no-video"),
        lambda: bench.plain(_loop(bench, scene, frames)),
    )
    alone, cpu = median(theirs), statistics.median(one.cpu_seconds for one in theirs)
    spent = statistics.median(one.cpu_seconds for one in ours)
    farm = statistics.median(one.farm_cpu_seconds for one in ours)
    fastest = min(one.seconds for one in ours) / min(one.seconds for one in theirs)
    least = cpu / _cores()
    remark = f"fastest {fastest:.2f}; CPU {spent:.1f} of {cpu:.1f} s, the farm's own {farm:.1f}; "
    remark += f"CPU alone by cores {least:.1f} s"
    work = f"{name} Blender scene, {frames} frames"
    yield Result(work, "`blender -b -a`", median(ours), alone, 1.03 + 0.4 / alone, remark=remark)


def moving_camera(bench: Bench) -> Iterator[Result]:
    """Heavy geometry, a moving camera: against Blender alone, and against what the machine can do at all."""
    scene, frames = bench.scene("geometry.blend"), bench.frames(12)
    ours, theirs = bench.versus(
        lambda: bench.submit(scene, "--frames", f"1-{frames}", "--no-video"),
        lambda: bench.plain(_loop(bench, scene, frames)),
    )
    work = f"heavy geometry with a moving camera, {frames} frames"
    yield Result(work, "`blender -b -a`", median(ours), median(theirs), 0.55)
    start = bench.plain([bench.blender, *FLAGS, str(scene)])
    rendering = statistics.median(one.cpu_seconds - one.farm_cpu_seconds for one in ours)
    yield Result(
        work, "renderers' CPU by cores, and a start", median(ours), rendering / _cores() + start.seconds, 1.1
    )


def _loop(bench: Bench, scene: Path, frames: int) -> list[str]:
    loop = [bench.blender, *FLAGS, str(scene), "-o", "@OUT@/f_####", "-F", "PNG", "-x", "1"]
    return [*loop, "-s", "1", "-e", str(frames), "-a"]


def _blender(bench: Bench, name: str, full: int, reach: float, *, farm_share: bool) -> Iterator[Result]:
    scene, frames = bench.scene(name), bench.frames(full)
    ours, theirs = bench.versus(
        lambda: bench.submit(scene, "--frames", f"1-{frames}", "--no-video"),
        lambda: bench.plain(_loop(bench, scene, frames)),
    )
    work = f"{name.partition('.')[0]} Blender scene, {frames} frames"
    yield Result(work, "`blender -b -a`, all threads", median(ours), median(theirs), reach)
    if farm_share:
        yield _share(work, ours)


def _process_per_frame(bench: Bench, scene: Path, frames: int) -> Run:
    def one(frame: int) -> None:
        argv = [
            bench.blender,
            *FLAGS,
            "-t",
            "1",
            str(scene),
            "-o",
            f"{folder}/f_####",
            "-F",
            "PNG",
            "-f",
            str(frame),
        ]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    folder = bench.fresh()
    started = time.monotonic()
    with ThreadPoolExecutor(_cores()) as pool:
        list(pool.map(one, range(1, frames + 1)))
    return Run(time.monotonic() - started, 0, 0, 0, 0)


def _cores() -> int:
    from renderfarm.queues.capacity import this_machine

    return this_machine().cores


def _share(work: str, ours: list[Run]) -> Result:
    """The farm's own CPU, all its processes but renderers and ffmpeg."""
    best = sorted(ours, key=lambda one: one.farm_cpu_seconds / one.cpu_seconds)[len(ours) // 2]
    return Result(
        f"farm's own CPU: {work}", "CPU of the whole job", best.farm_cpu_seconds, best.cpu_seconds, 0.02
    )


def povray_light(bench: Bench) -> Iterator[Result]:
    """Frames that POV-Ray idles over."""
    yield from _povray(bench, "light.ini", 48, 0.30, farm_share=False)


def povray_heavy(bench: Bench) -> Iterator[Result]:
    """Frames that keep all cores busy."""
    yield from _povray(bench, "heavy.ini", 8, 0.90, farm_share=True)


def _povray(bench: Bench, name: str, full: int, reach: float, *, farm_share: bool) -> Iterator[Result]:
    scene, frames = bench.scene(name), bench.frames(full)
    loop = ["povray", str(scene), f"+L{scene.parent}", f"+I{scene.with_suffix('.pov')}", "-D", "+O@OUT@/f_"]
    ours, theirs = bench.versus(
        lambda: bench.submit(scene, "--frames", f"1-{frames}", "--no-video"),
        lambda: bench.plain([*loop, f"+EF{frames}"]),
    )
    work = f"{name.partition('.')[0]} POV-Ray animation, {frames} frames"
    yield Result(work, f"`povray +KFF{full}`, all threads", median(ours), median(theirs), reach)
    if farm_share:
        yield _share(work, ours)


def overhead(bench: Bench) -> Iterator[Result]:
    """Ten thousand frames that cost nothing, against openjd's no-op tasks."""
    frames = bench.frames(10_000)
    card = _card(bench, frames)
    openjd = _openjd(bench)
    tasks = 1000
    ours, theirs = bench.versus(lambda: bench.submit(card, "--no-video"), lambda: bench.plain(openjd))
    yield Result(
        f"{frames:,} frames of a do-nothing renderer",
        f"`openjd run`, {tasks:,} no-op tasks",
        frames / median(ours),
        tasks / median(theirs),
        15,
        "/s",
        more_is_better=True,
    )


def farm(bench: Bench) -> Iterator[Result]:
    """The farm's own process at twenty thousand do-nothing frames, against what it took in November 2026."""
    frames = bench.frames(20_000)
    runs = [bench.submit(_card(bench, frames), "--no-video") for _ in range(bench.rounds)]
    work = f"{frames:,} frames of a do-nothing renderer, the farm's process"
    peak = min(one.peak_bytes for one in runs) / (1 << 20)
    cpu = min(one.first_cpu_seconds for one in runs) * 20_000 / frames
    yield Result(f"{work}: memory", "before", peak, 118, 0.7, "MiB")
    yield Result(f"{work}: CPU", "before", cpu, 24, 0.6)


def scale(bench: Bench) -> Iterator[Result]:
    """Cost and memory of a hundred thousand frames against a thousand."""
    many, few = bench.frames(100_000), 1000
    large = [bench.submit(_card(bench, many), "--no-video") for _ in range(max(1, bench.rounds - 2))]
    small = [bench.submit(_card(bench, few), "--no-video") for _ in range(bench.rounds)]
    work = f"the farm's cost per frame at {many:,} frames"
    yield Result(work, f"at {few:,} frames", median(large) / many * 1e3, median(small) / few * 1e3, 1.2, "ms")
    peaks = [max(one.peak_bytes for one in runs) / (1 << 20) for runs in (large, small)]
    work = f"memory of the farm process at {many:,} frames"
    reach = (peaks[1] + 100) / peaks[1]
    remark = f"+ {peaks[0] - peaks[1]:.0f} MiB, reach 100"
    yield Result(work, f"at {few:,} frames", peaks[0], peaks[1], reach, "MiB", remark=remark)


def _card(bench: Bench, frames: int) -> Path:
    path = bench.folder / "scenes" / f"nothing{frames}.testcard"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"frames": f"1-{frames}", "size": [1, 1]}))
    return path


def _openjd(bench: Bench) -> list[str]:
    """openjd-cli in an environment of its own, and a template of a thousand tasks that run `true`."""
    home = bench.folder / "openjd"
    if not (home / "bin" / "openjd").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "-q", "openjd-cli"], check=True)
    numbers = [{"name": "Frame", "type": "INT", "range": "1-1000"}]
    step = {
        "name": "Nothing",
        "parameterSpace": {"taskParameterDefinitions": numbers},
        "script": {"actions": {"onRun": {"command": shutil.which("true") or "true"}}},
    }
    template = bench.folder / "nothing.template.json"
    template.write_text(
        json.dumps({"specificationVersion": "jobtemplate-2023-09", "name": "Nothing", "steps": [step]})
    )
    return [str(home / "bin" / "openjd"), "run", str(template), "--step", "Nothing"]


def again(bench: Bench) -> Iterator[Result]:
    """A finished job, asked for once more."""
    scene, frames = bench.scene("light.blend"), bench.frames(48)
    folder = bench.fresh()
    options = ["--frames", f"1-{frames}"]
    places = {"home": folder / "home", "output": folder / "out"}
    bench.submit(scene, *options, **places)
    bench.rounds, rounds = max(5, bench.rounds), bench.rounds
    ours, theirs = bench.versus(
        lambda: bench.submit(scene, *options, **places), lambda: bench.plain([bench.blender, "--version"])
    )
    bench.rounds = rounds
    work = f"re-submit of a finished {frames}-frame job"
    yield Result(work, "`blender --version`", median(ours), median(theirs), 1.5)


def encoding(bench: Bench) -> Iterator[Result]:
    """Frames to H.264."""
    from benchmarks.assemble import compare

    frames = bench.frames(500)
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        ours, theirs = compare(Path(folder), frames, max(1, bench.rounds - 2))
    yield Result(f"{frames} PNGs 1080p to H.264", "plain ffmpeg, the same settings", ours, theirs, 1.10)


def checking(bench: Bench) -> Iterator[Result]:
    """What the look at each frame costs, of the wall clock of a 1080p job."""
    from renderfarm.pictures.look import look

    scene, frames = bench.scene("light.ini"), bench.frames(48)
    folder = bench.fresh()
    options = ("--frames", f"1-{frames}", "--resolution", "1920x1080", "--no-video")
    job = bench.submit(scene, *options, output=folder / "out")
    started = time.process_time()
    for number, path in enumerate(sorted((folder / "out" / "frames").iterdir())):
        look(path, number)
    seconds = time.process_time() - started
    yield Result(f"checking {frames} frames of 1080p", "wall clock of the job", seconds, job.seconds, 0.05)


def foresight(bench: Bench) -> Iterator[Result]:
    """The time left that is told after a tenth of a job, against what it then took."""
    import renderfarm

    scene, folder, seen = bench.scene("light.blend"), bench.fresh(), []
    os.environ["RENDERFARM_HOME"] = str(folder / "home")
    started = time.monotonic()
    renderfarm.submit(
        scene,
        f"1-{bench.frames(48)}",
        folder / "out",
        blender=bench.blender,
        observer=lambda status: seen.append((time.monotonic(), status.frames, status.eta_seconds)),
    )
    ended = time.monotonic()
    at, eta = next(
        (at, eta) for at, counts, eta in seen if eta is not None and counts.succeeded * 10 >= counts.total
    )
    remark = f"told {eta:.1f} s, took {ended - at:.1f} s of {ended - started:.1f} s; reach 0.8 to 1.2"
    error = max(eta / (ended - at), (ended - at) / eta)
    yield Result("time left after a tenth of the job", "what it took", error, 1.0, 1.2, "", remark=remark)


def simulation(bench: Bench) -> Iterator[Result]:
    """A thousand simulated spot nodes, with `--chunk auto`, against work divided by nodes."""
    from benchmarks import simulation_plot, simulation_table

    seeds = simulation_table.SEEDS if bench.size >= 1 else simulation_table.SEEDS[:2]
    cells = simulation_table.cells(seeds)
    table = simulation_table.text(cells, len(seeds))
    bench.folder.mkdir(parents=True, exist_ok=True)
    (bench.folder / "simulation.md").write_text(table)
    print(table, file=sys.stderr)
    if bench.plot:
        simulation_plot.draw(cells, Path("docs/images/simulation.png"))
    for mean in simulation_table.MEANS:
        auto, others = cells["auto", mean], (cells[f"fixed {size}", mean].ratio for size in (1, 10, 50))
        work = f"simulated: 100,000 frames of {mean} s on 1,000 spot nodes, `--chunk auto`"
        remark = f"worst film {auto.worst:.2f}; chunks of 1, 10, 50: "
        remark += ", ".join(f"{ratio:.2f}" for ratio in others)
        ours, ideal = auto.makespan / 60, auto.ideal / 60
        reach = {2: 1.35, 10: 1.12}.get(mean, 1.10)
        yield Result(work, "work divided by nodes", ours, ideal, reach, "min", remark=remark)


def upload(bench: Bench) -> Iterator[Result]:
    """Assets to a local Blob storage: at first, and when nothing changed; small frames back."""
    from benchmarks import uploading

    files = round(uploading.FILES * min(1.0, bench.size))
    bench.folder.mkdir(parents=True, exist_ok=True)
    runs = uploading.compare(bench.folder, files, bench.rounds)
    work = f"{files:,} files of 1 MB to Azurite"
    peak = max(one.peak_bytes for one in runs.ours) >> 20
    remark = f"peak memory {peak} MiB"
    yield Result(
        work, "`rclone copy`, as many at once", median(runs.ours), median(runs.rclone), 1.3, remark=remark
    )
    remark = f"{statistics.median(one.cpu_seconds for one in runs.again):.2f} s CPU"
    work = f"{files:,} files, nothing changed"
    yield Result(work, "what is promised", median(runs.again), 2.0, 1.0, remark=remark)
    speed = uploading.fetched_per_second(bench.folder, bench.rounds)
    yield Result("frames of 3 KB fetched", "what is promised", speed, 300, 1.0, "/s", more_is_better=True)


def cloud(bench: Bench) -> Iterator[Result]:
    """A hundred thousand one-frame tasks against the local Batch service: what each costs the client."""
    from benchmarks import cloud as measured

    bench.folder.mkdir(parents=True, exist_ok=True)
    few, many = measured.SIZES if bench.size >= 1 else measured.QUICK_SIZES
    small, large = measured.costs(bench.folder, few, many)
    promised, work = "what is promised", f"{large.tasks:,} one-frame tasks on Azure Batch"
    speed, remark = large.tasks / large.submit.seconds, _each(large.submit, large.tasks)
    yield Result(f"{work}, submitted", promised, speed, 1000, 1.0, "/s", more_is_better=True, remark=remark)
    peaks = ", ".join(f"{name} {peak}" for name, peak in large.peaks.items())
    yield Result(f"{work}: memory", promised, max(large.peaks.values()), 300, 1.0, "MiB", remark=peaks)
    typical = statistics.median(large.look.quiet_ms)
    remark = f"slowest of {len(large.look.quiet_ms)}: {max(large.look.quiet_ms):.0f} ms"
    yield Result(f"{work}: a look with nothing new", promised, typical, 50, 1.0, "ms", remark=remark)
    quickest, of_few = (min(each.look.quiet_ms) for each in (large, small))
    yield Result(f"{work}: quickest look", f"with {small.tasks:,} tasks", quickest, of_few, 1.5, "ms")
    speed = large.frames / large.collect.seconds
    each = _each(large.collect, large.frames)
    remark = f"{each}; the pool alone {large.look.frames_per_second:.0f} /s"
    collected = f"{large.frames:,} of {large.tasks:,} frames collected"
    yield Result(collected, promised, speed, 300, 1.0, "/s", more_is_better=True, remark=remark)
    seconds = large.status.seconds
    yield Result(f"{work}: `status`", "what is bearable", seconds, 2.0, 1.0)
    yield Result(f"{work}: `jobs`", "what is bearable", large.jobs.seconds, 1.0, 1.0)


def _each(done: Run, count: int) -> str:
    """What does not depend on who else uses the machine."""
    return f"{done.cpu_seconds / count * 1000:.2f} ms of CPU each"


CASES: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "blender-heavy": blender_heavy,
    "blender-moving": blender_moving,
    "blender-light": blender_light,
    "moving-camera": moving_camera,
    **{f"kind-{name}": partial(_kind, name) for name in KINDS},
    "povray-light": povray_light,
    "povray-heavy": povray_heavy,
    "overhead": overhead,
    "farm": farm,
    "scale": scale,
    "encoding": encoding,
    "again": again,
    "checking": checking,
    "foresight": foresight,
    "upload": upload,
    "simulation": simulation,
    "cloud": cloud,
}
