"""One query among 100,000 gallery images: the library's search, faiss's flat index, and the page.

    python benchmarks/search.py [--quick]

Random unit rows of 1,536 dimensions, as SDCL's ViT-B gives. "page" is the answer over HTTP, from the
uploaded bytes to the parsed result, with a ViT-B of random weights at 288 x 144.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
from pathlib import Path

import common
import numpy as np
import torch

from sdcl.config import resolve
from sdcl.evaluation.rerank import Rerank
from sdcl.inference.embeddings import Embeddings, about_embedding, save_embeddings
from sdcl.inference.search import search
from sdcl.inference.trained_model import TrainedModel
from sdcl.models.pretrained import model_of


def unit_rows(count: int, dimensions: int, seed: int) -> np.ndarray:
    """float32 (count, dimensions) of unit length."""
    rows = np.random.default_rng(seed).standard_normal((count, dimensions), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=1536)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    count, dimensions = (1000, 64) if args.quick else (args.images, args.dimensions)
    repeats = 3 if args.quick else 10
    rows = unit_rows(count, dimensions, args.seed)
    query = Embeddings(unit_rows(1, dimensions, args.seed + 1), ["query"], {})
    halves = np.array_split(np.arange(count), 2)
    galleries = [Embeddings(rows[h[0] : h[-1] + 1], [f"{i}.png" for i in h], {}) for h in halves]

    results = {}
    times = {
        "search, two galleries": common.timed(
            lambda: results.update(ours=search(query, galleries, top=50)), repeats
        )[1],
        "and re-ranking of the first 300": common.timed(
            lambda: search(query, galleries, top=50, method=Rerank(), rerank_top=300), repeats
        )[1],
    }
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(args.threads)
        index = faiss.IndexFlatIP(dimensions)
        index.add(rows)
        times["faiss, flat index"] = common.timed(
            lambda: results.update(faiss=index.search(query.rows, 50)), repeats
        )[1]
        names = [int(r["path"][:-4]) for r in results["ours"][0]["results"]]
        same = len(set(names) & set(results["faiss"][1][0].tolist()))
        print(f"the first 50: {same} in common with faiss, {'agree' if same >= 49 else 'DIFFER'}")
    times |= page_times(count, repeats, args.seed, args.quick)
    common.table(
        ("one query", f"{count:,} images"), ((name, common.seconds(value)) for name, value in times.items())
    )


def page_times(count: int, repeats: int, seed: int, quick: bool) -> dict[str, float]:
    """Answers of the page, plain and re-ranked."""
    from PIL import Image
    from starlette.testclient import TestClient

    from sdcl.app.folders import AllowedFolders
    from sdcl.app.server import create_app
    from sdcl.app.workspace import Workspace
    from sdcl.inference.options import EmbeddingOptions

    small = {"arch": "vit_mini", "height": 96, "width": 48}
    settings, _ = resolve({"device": "cpu"} | (small if quick else {"arch": "vit_base"}))
    trained = TrainedModel(model_of(settings), settings)
    dimensions = trained.model.feature_dim * len(trained.model.branches)
    rows = unit_rows(count, dimensions, seed)
    upload = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (288, 144, 3), np.uint8)).save(
        upload, "JPEG"
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        about = about_embedding(trained, place, "visible", "fp32")
        save_embeddings(place / "g.npz", Embeddings(rows, [f"{i}.png" for i in range(count)], about))
        options = EmbeddingOptions(device="cpu")
        workspace = Workspace(trained, AllowedFolders([place]), place / "store", options)
        workspace.add(place / "g.npz", "")
        workspace.wait()
        address = "http://127.0.0.1"
        client = TestClient(create_app(workspace), base_url=address, headers={"origin": address})
        client.get(f"/?token={client.app.state.token}")

        parts: list[dict[str, float]] = []

        def ask(more: str) -> None:
            found = client.post(
                f"/api/search?modality=infrared&galleries=1&top=50{more}", content=upload.getvalue()
            )
            assert found.json()["searched"] == count
            parts.append(found.json()["seconds"])

        times = {
            f"page, {dimensions} dimensions": common.timed(lambda: ask(""), repeats)[1],
            "page, re-ranked": common.timed(lambda: ask("&rerank=true"), repeats)[1],
        }
        times |= {f"of it: {name}": min(part[name] for part in parts) for name in ("embed", "search")}
        workspace.close()
    return times


if __name__ == "__main__":
    main()
