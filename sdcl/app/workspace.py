"""What the search page asks for: galleries, queries, ranked images, threshold costs, attention.

One model serves all requests; `Workspace.lock` is held while it computes. Galleries are embedded one after
another in a thread, into files of `update_embeddings`, so that a stopped program continues. That thread gives
the lock away after each batch, which is small on a CPU, so that a query waits for one batch at most. Uploaded
images live in memory, for one request.

G gallery images, H height, W width.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdcl.app.folders import AllowedFolders
from sdcl.data.image_cache import read_image
from sdcl.datasets import MODALITIES
from sdcl.evaluation.rerank import Rerank
from sdcl.inference.embedding_file import update_embeddings
from sdcl.inference.embeddings import (
    EMBEDDING_SUFFIXES,
    Embeddings,
    about_embedding,
    images_below,
    load_embeddings,
    refuse_mixture,
)
from sdcl.inference.file_names import taken
from sdcl.inference.options import EmbeddingOptions
from sdcl.inference.search import ThresholdCosts, search, threshold_costs
from sdcl.inference.trained_model import TrainedModel
from sdcl.reporting.attention import attention_of_image
from sdcl.reporting.style import jpeg_uri
from sdcl.runtime.errors import DataError, SettingError, UserError
from sdcl.runtime.files import printable

MOST_LISTED = 200  # results of a search
RERANKED = 300  # images of a search that are re-ranked among themselves
QUERIES_LISTED = 60  # images of the query folder on one page of the list
STEPS = 200  # positions of the threshold
CPU_BATCH = 8  # gallery images embedded at once on a CPU: a query waits for so many
PAUSE = 0.001  # seconds in which a waiting query takes the lock; a lock is not handed over in turn
THUMBNAIL, PREVIEW = 192, 320  # pixels high
WAITING, EMBEDDING, READY, FAILED = "waiting", "embedding", "ready", "failed"


class Stopped(Exception):
    """A gallery was taken away, or the program was ended, while images were embedded."""


class _Turn:
    """Held while the background thread computes one batch; leaves the model to waiting queries after it.

    Raises Stopped, before a batch, once one of the events is set.
    """

    def __init__(self, lock: threading.Lock, *events: threading.Event):
        self.lock, self.events = lock, events

    def __enter__(self) -> None:
        if any(event.is_set() for event in self.events):
            raise Stopped
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()
        time.sleep(PAUSE)


@dataclass(eq=False)
class Gallery:
    """Images to search among, or to measure a threshold by.

    Args:
        number: its address. path: folder, image, or file of embeddings. modality: of its images.
        role: "gallery" or "reference".
        state: waiting, embedding, ready or failed; message: why it failed.
        done, total: images embedded so far, and all of them.
        version: how often its embeddings were loaded; the row of an image may change with it.
    """

    number: int
    path: Path
    modality: str
    role: str = "gallery"
    state: str = WAITING
    message: str = ""
    done: int = 0
    total: int = 0
    version: int = 0
    embeddings: Embeddings | None = None
    removed: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """The last two parts of its path."""
        return printable("/".join(self.path.parts[-2:]))

    def facts(self) -> dict[str, Any]:
        """For the page."""
        count = len(self.embeddings.paths) if self.embeddings else None
        names = ("number", "name", "modality", "role", "state", "message", "done", "total", "version")
        return {name: getattr(self, name) for name in names} | {"images": count, "path": printable(self.path)}


class Workspace:
    """Everything that the search page works on.

    Args:
        trained: the model. folders: what may be read. store: folder of the galleries' embedding files.
        options: how galleries are embedded.
        queries: folder of images to choose a query from.
        labelled: whether the first folder of each path names the person, in reference and galleries.
    """

    def __init__(
        self,
        trained: TrainedModel,
        folders: AllowedFolders,
        store: Path,
        options: EmbeddingOptions | None = None,
        *,
        queries: Path | None = None,
        labelled: bool = False,
    ):
        self.trained, self.folders, self.store = trained, folders, store
        self.options, self.labelled = options or EmbeddingOptions(), labelled
        self.lock = threading.Lock()  # held while the model computes
        self.galleries: dict[int, Gallery] = {}
        self._numbers = itertools.count(1)
        self._changing = threading.Lock()  # held while galleries are added or removed
        self._worker = ThreadPoolExecutor(1, "embed")
        self._closing = threading.Event()
        self._measuring = threading.Lock()  # held while the costs of a threshold are computed
        self._costs: dict[tuple[tuple[int, int], ...], ThresholdCosts] = {}  # of (number, version), ...
        self.query_root, self.query_paths = Path(), list[str]()
        if queries is not None:
            self.query_root, self.query_paths = images_below(folders.require(queries))
            folders.require_images(self.query_root, self.query_paths)

    def close(self) -> None:
        """Stop embedding; what is done stays on disk."""
        self._closing.set()
        self._worker.shutdown(wait=True, cancel_futures=True)

    # ------------------------------------------------------------------ galleries

    def add(self, path: Path | str, modality: str, role: str = "gallery") -> Gallery:
        """Add images; they are embedded in the background. The same images are never added twice.

        Raises:
            DataError: a path outside the allowed folders, or nothing there. SettingError: no such modality.
        """
        real = self.folders.require(path)
        if not real.exists():
            raise DataError(
                f"there is nothing at {printable(path)}; name a folder of images or their embeddings"
            )
        if modality not in MODALITIES and not _is_file(real):
            raise SettingError(f"the modality must be {' or '.join(MODALITIES)}, got {printable(modality)!r}")
        with self._changing:
            for gallery in self.galleries.values():
                same = (gallery.path, gallery.role) == (real, role)
                if same and (gallery.modality == modality or _is_file(real)) and gallery.state != FAILED:
                    return gallery
            gallery = Gallery(next(self._numbers), real, modality, role)
            self.galleries[gallery.number] = gallery
        self._worker.submit(self._prepare, gallery)
        return gallery

    def remove(self, number: int) -> None:
        """Take a gallery away; its embeddings stay on disk. Raises DataError: there is none."""
        with self._changing:
            self._gallery(number).removed.set()
            del self.galleries[number]

    def renew(self, number: int) -> Gallery:
        """Embed the new and changed images of a gallery. Raises DataError: there is no such gallery."""
        gallery = self._gallery(number)
        if gallery.state in (READY, FAILED):
            gallery.state, gallery.message = WAITING, ""
            self._worker.submit(self._prepare, gallery)
        return gallery

    def wait(self, timeout: float = 600) -> None:
        """Wait until what was added so far is ready or failed."""
        self.later(lambda: None).result(timeout)

    def later(self, work: Callable[[], None]) -> Any:
        """Do something after what waits; returns its future."""
        return self._worker.submit(work)

    def embedded(
        self,
        trained: TrainedModel,
        root: Path,
        modality: str,
        progress: Callable[[int, int], None],
        paths: Sequence[str] | None = None,
        stop: threading.Event | None = None,
    ) -> Embeddings:
        """The embeddings of images below a folder, from the store or computed now.

        Raises Stopped when the program ends, or `stop` is set.
        """
        key = [str(root), modality, self.options.precision, *(paths or ())]
        digest = hashlib.sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()
        file = self.store / f"{trained.fingerprint}_{modality}_{digest[:16]}.npz"
        keywords = self.options.keywords()
        if trained.device.type == "cpu":
            keywords["batch_size"] = min(keywords["batch_size"], CPU_BATCH)
        turn = _Turn(self.lock, self._closing, *([stop] if stop else []))
        return update_embeddings(
            trained, root, modality, file, paths=paths, progress=progress, guard=turn, **keywords
        )

    def _prepare(self, gallery: Gallery) -> None:
        """Load or compute the embeddings of a gallery; whatever goes wrong is its message."""
        try:
            if gallery.removed.is_set():
                return
            gallery.state = EMBEDDING
            gallery.embeddings = self._load(gallery)
            gallery.version += 1
            gallery.state = READY
        except Stopped:
            pass
        except UserError as error:
            gallery.message, gallery.state = str(error), FAILED
        except Exception as error:  # of a library; the thread must live on
            gallery.message, gallery.state = f"{type(error).__name__}: {error}", FAILED

    def _load(self, gallery: Gallery) -> Embeddings:
        if _is_file(gallery.path):
            embeddings = load_embeddings(gallery.path)
            refuse_mixture(embeddings, self._sample())
            gallery.modality = str(embeddings.about["modality"])
            return embeddings
        root, paths = images_below(gallery.path)
        self.folders.require_images(root, paths)

        def progress(done: int, total: int) -> None:
            gallery.done, gallery.total = done, total

        return self.embedded(self.trained, gallery.path, gallery.modality, progress, stop=gallery.removed)

    def _sample(self) -> Embeddings:
        """Embeddings of no image: what a file must be comparable with."""
        return self._single(np.empty((0, 0), np.float32), MODALITIES[0], "this model")

    def _single(self, rows: np.ndarray, modality: str, name: str) -> Embeddings:
        about = about_embedding(self.trained, Path(), modality, self.options.precision)
        return Embeddings(rows, [name] * len(rows), about | {"root": name})

    def _gallery(self, number: int) -> Gallery:
        if number not in self.galleries:
            raise DataError(f"there is no gallery {number}; it was taken away")
        return self.galleries[number]

    def chosen(self, numbers: Sequence[int]) -> list[tuple[Gallery, Embeddings]]:
        """The galleries of these numbers that are ready, with their embeddings. Raises DataError: none."""
        galleries = [self._gallery(number) for number in numbers]
        ready = [(g, g.embeddings) for g in galleries if g.embeddings is not None and g.role == "gallery"]
        if not ready:
            raise DataError("no gallery is ready to be searched: add one, or wait until it is embedded")
        return ready

    # ------------------------------------------------------------------ search

    def search(
        self, image: Image.Image, name: str, modality: str, numbers: Sequence[int], *, top: int, rerank: bool
    ) -> dict[str, Any]:
        """Rank the images of galleries for one query image."""
        began = time.perf_counter()
        chosen = self.chosen(numbers)
        method = Rerank() if rerank else None
        top = max(1, min(top, MOST_LISTED))
        query = self._single(self._embed(image, modality), modality, name)
        embedded = time.perf_counter()
        sets = [embeddings for _, embeddings in chosen]
        answer = search(query, sets, top=top, method=method, rerank_top=RERANKED)[0]
        results = [self._result(r, chosen[r["gallery"]][0]) for r in answer["results"]]
        size = sum(len(e.paths) for e in sets)
        ranking = "cosine similarity"
        if method:
            ranking = method.title + (f" of the first {RERANKED}" if size > RERANKED else "")
        return {
            "query": {"preview": jpeg_uri(image, PREVIEW), "name": printable(name), "modality": modality}
            | taken(name)._asdict(),
            "best": answer["best_similarity"],
            "ranking": ranking,
            "searched": size,
            "results": results,
            "seconds": {"embed": embedded - began, "search": time.perf_counter() - embedded},
        }

    def _embed(self, image: Image.Image, modality: str) -> np.ndarray:
        if modality not in MODALITIES:
            raise SettingError(f"the modality must be {' or '.join(MODALITIES)}, got {printable(modality)!r}")
        with self.lock:
            return self.trained.embed([image], modality, precision=self.options.precision)

    def _result(self, result: dict[str, Any], gallery: Gallery) -> dict[str, Any]:
        path = result["path"]
        facts = {"gallery": gallery.number, "gallery_name": gallery.name, "name": printable(path)}
        kept = {name: result[name] for name in ("row", "similarity", "score")}
        whole = f"{Path(gallery.embeddings.about['root']).name}/{path}" if gallery.embeddings else path
        return kept | facts | {"modality": gallery.modality} | taken(whole)._asdict()

    def upload(self, content: bytes, name: str) -> Image.Image:
        """Decode an uploaded image, from memory, as the readers of files do. Raises DataError."""
        return read_image(io.BytesIO(content), name or "the image")

    # ------------------------------------------------------------------ images

    def query_image(self, row: int) -> tuple[Image.Image, str]:
        """(image, path) of the query folder. Raises DataError."""
        if not 0 <= row < len(self.query_paths):
            raise DataError(f"there is no query image {row}")
        return self.read(self.query_root, self.query_paths[row]), self.query_paths[row]

    def query_list(self, page: int) -> dict[str, Any]:
        """A page of the query folder's images."""
        first = max(0, page) * QUERIES_LISTED
        rows = range(first, min(first + QUERIES_LISTED, len(self.query_paths)))
        listed = [{"row": row, "name": printable(self.query_paths[row])} for row in rows]
        pages = -(-len(self.query_paths) // QUERIES_LISTED)
        return {"images": listed, "page": page, "pages": pages, "total": len(self.query_paths)}

    def gallery_image(self, number: int, row: int) -> Image.Image:
        """An image of a gallery. Raises DataError: there is none, or it may not be read."""
        gallery = self._gallery(number)
        if gallery.embeddings is None or not 0 <= row < len(gallery.embeddings.paths):
            raise DataError(f"gallery {number} has no image {row}")
        return self.read(Path(gallery.embeddings.about["root"]), gallery.embeddings.paths[row])

    def read(self, root: Path, path: str) -> Image.Image:
        """An image below a folder, if both may be read."""
        return read_image(str(self.folders.require(root / path)))

    def attention(self, image: Image.Image, modality: str) -> list[dict[str, str]]:
        """Attention maps over an image, each a data URI. Raises UserError: the model has no attention."""
        if modality not in MODALITIES:
            raise SettingError(f"the modality must be {' or '.join(MODALITIES)}, got {printable(modality)!r}")
        with self.lock:
            maps = attention_of_image(self.trained, image, modality)
        return [{"name": name, "image": jpeg_uri(_enlarged(pixels), PREVIEW)} for name, pixels in maps]

    # ------------------------------------------------------------------ threshold

    def costs(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Positions of the threshold and what each costs, by the reference images.

        `images` is 0 without a reference; rates are None where nothing is known.
        """
        references = [g for g in list(self.galleries.values()) if g.role == "reference"]
        # versions are read before embeddings: costs of newer ones under an older version are never asked for
        key = tuple((g.number, g.version) for g in [*references[:1], *map(self._gallery, numbers)])
        chosen = self.chosen(numbers)
        ready = [g for g in references if g.embeddings is not None]
        if not ready:
            note = next((g.message or "the reference is being embedded" for g in references), "")
            positions = np.linspace(-1, 1, STEPS + 1)
            return {"images": 0, "note": note, "labelled": False, "default": None} | _curves(positions, None)
        reference = ready[0].embeddings
        assert reference is not None
        sets = [embeddings for _, embeddings in chosen]
        with self._measuring:
            if key not in self._costs:
                self._costs[key] = threshold_costs(reference, sets, labelled=self.labelled)
            costs = self._costs[key]
        if not len(costs.impostor):
            raise DataError("no reference image shows a person whom the galleries do not show alone")
        scores = np.concatenate([costs.impostor, costs.genuine])
        positions = np.linspace(scores.min() - 0.01, min(1.0, scores.max() + 0.01), STEPS + 1)
        rate = max(0.01, 1 / (len(costs.impostor) + 1))
        default = int(np.searchsorted(positions, costs.threshold(rate)))
        facts = {"images": len(costs.impostor), "labelled": costs.labelled, "note": ""}
        return facts | {"default": min(default, STEPS)} | _curves(positions, costs)


def _curves(positions: np.ndarray, costs: ThresholdCosts | None) -> dict[str, Any]:
    thresholds = positions.tolist()
    return {
        "thresholds": thresholds,
        "false_accepts": [costs.false_accepts(t) if costs else None for t in thresholds],
        "true_accepts": [costs.true_accepts(t) if costs else None for t in thresholds],
    }


def _is_file(path: Path) -> bool:
    """Whether a path is a file of embeddings."""
    return path.suffix in EMBEDDING_SUFFIXES and not path.is_dir()


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """Small pictures are shown at `PREVIEW` pixels high."""
    image = Image.fromarray(pixels)
    scale = max(1.0, PREVIEW / image.height)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
