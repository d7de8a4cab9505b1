"""The page's requests: what is answered, and what is refused."""

import io
import os
import struct
import tempfile
import time
import zlib

import pytest
from helpers import raw_trees
from helpers.process_groups import wait_until
from PIL import Image

from sdcl.app import server
from sdcl.app import workspace as workspace_module
from sdcl.inference.embeddings import embed_folder, save_embeddings
from sdcl.inference.search import search

SEARCH = "/api/search?modality=infrared&galleries=1&top=5"


def content(images, name="in/infrared/02/cam3_20240501.png"):
    return (images / name).read_bytes()


# ------------------------------------------------------------------ search


def test_search_is_that_of_the_library(client, filled, images):
    path = images / "in" / "infrared" / "02" / "cam3_20240501.png"
    found = client.post(SEARCH, content=path.read_bytes(), headers={"x-file-name": path.name}).json()
    trained = filled.trained
    query = embed_folder(trained, path, "infrared")
    wanted = search(query, embed_folder(trained, images / "in" / "visible", "visible"), top=5)[0]
    assert [r["name"] for r in found["results"]] == [r["path"] for r in wanted["results"]]
    for one, other in zip(found["results"], wanted["results"]):
        assert one["similarity"] == pytest.approx(other["similarity"], abs=1e-6)
    assert found["results"][0]["camera"] == "1" and found["results"][0]["time"].startswith("2024-05-0")
    assert found["query"]["camera"] == "3" and found["query"]["time"] == "2024-05-01"
    assert found["query"]["preview"].startswith("data:image/jpeg") and found["searched"] == 12


def test_an_image_of_the_query_folder_and_reranking(client, filled):
    listed = client.get("/api/queries").json()
    assert listed["total"] == 12 and listed["images"][4]["name"] == "02/cam3_20240501.png"
    found = client.post(SEARCH + "&query=4&rerank=true").json()
    assert found["ranking"].startswith("k-reciprocal") and found["query"]["name"] == "02/cam3_20240501.png"
    scores = [r["score"] for r in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert client.get("/api/queries/4").headers["content-type"] == "image/jpeg"
    assert client.get("/api/queries/99").status_code == 400


def test_several_galleries_are_added_searched_and_taken_away(client, filled, images):
    added = {"path": str(images / "in" / "infrared"), "modality": "infrared"}
    assert client.post("/api/galleries", json=added).status_code == 200
    assert client.post("/api/galleries", json=added).status_code == 200  # the same again: once
    filled.wait()
    galleries = client.get("/api/galleries").json()["galleries"]
    assert [(g["number"], g["state"], g["images"]) for g in galleries] == [(1, "ready", 12), (2, "ready", 12)]
    both = client.post("/api/search?modality=infrared&galleries=1,2&query=0").json()
    assert both["searched"] == 24 and {r["gallery"] for r in both["results"]} == {1, 2}
    assert both["results"][0]["gallery"] == 2 and both["results"][0]["similarity"] == pytest.approx(
        1, abs=1e-5
    )
    assert client.delete("/api/galleries/2").status_code == 200
    refused = client.post("/api/search?modality=infrared&galleries=2&query=0")
    assert refused.status_code == 400 and "taken away" in refused.json()["error"]


def test_renewing_sees_new_images(client, workspace, images, tmp_path):
    folder = images / "in" / "growing"
    raw_trees.picture(folder / "a.png", 1, (1, 1), False)
    client.post("/api/galleries", json={"path": str(folder), "modality": "visible"})
    workspace.wait()
    raw_trees.picture(folder / "b.png", 2, (1, 1), False)
    client.post("/api/galleries/1")
    workspace.wait()
    assert client.get("/api/galleries").json()["galleries"][0]["images"] == 2


def test_a_file_of_embeddings_is_a_gallery(client, workspace, images, weights, tmp_path):
    file = images / "in" / "visible.npz"
    save_embeddings(file, embed_folder(workspace.trained, images / "in" / "visible", "visible"))
    client.post("/api/galleries", json={"path": str(file), "modality": ""})
    workspace.wait()
    gallery = client.get("/api/galleries").json()["galleries"][0]
    assert (gallery["state"], gallery["modality"], gallery["images"]) == ("ready", "visible", 12)
    for modality in ("", "infrared"):  # the file says its modality: it is the same gallery
        client.post("/api/galleries", json={"path": str(file), "modality": modality})
    assert len(client.get("/api/galleries").json()["galleries"]) == 1
    file.unlink()


def test_attention_of_both_branches(client, filled):
    for address in ("/api/attention?modality=infrared&query=1", "/api/galleries/1/attention/3"):
        maps = client.post(address).json()["maps"]
        assert [m["name"] for m in maps] == ["deep, last block", "shallow, last block", "deep, rollout"]
        assert all(m["image"].startswith("data:image/jpeg;base64,") for m in maps)


def test_costs_of_the_threshold(client, filled, images):
    unknown = client.get("/api/costs?galleries=1").json()
    assert unknown["images"] == 0 and unknown["false_accepts"][0] is None
    filled.add(images / "in" / "infrared", "infrared", "reference")
    filled.wait()
    costs = client.get("/api/costs?galleries=1").json()
    assert costs["images"] == 12 and costs["labelled"] and len(costs["thresholds"]) == 201
    for rates in (costs["false_accepts"], costs["true_accepts"]):
        assert rates == sorted(rates, reverse=True) and rates[0] == 1 and rates[-1] < 0.1
    at = costs["default"]
    assert costs["false_accepts"][at] <= 1 / 13 + 1e-9 < costs["false_accepts"][at - 1]


# ------------------------------------------------------------------ bad input


def bomb(side):
    """A PNG of side x side pixels in a few hundred bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_bad_images_are_refused_with_a_reason(client, filled, images):
    gif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    cases = {
        "decompression bomb": bomb(60_000),
        "more than the 33554432": bomb(7_000),
        "no image of a format": b"<svg onload=alert(1)>",
        "no image of a format that is read": gif.getvalue(),
        "truncated": content(images)[:-60],
        "choose an image": b"",
    }
    for reason, body in cases.items():
        answer = client.post(SEARCH, content=body, headers={"x-file-name": "..%2F..%2Fx%0A.png"})
        assert answer.status_code == 400 and reason in answer.json()["error"], (reason, answer.text)
        assert "\n" not in answer.json()["error"] and "../" not in answer.json()["error"]


def test_an_upload_above_the_limit_is_cut_off(client, filled, monkeypatch):
    monkeypatch.setattr(server, "MOST_BYTES", 1000)
    answer = client.post(SEARCH, content=b"x" * 1001)
    assert answer.status_code == 413


def test_nothing_uploaded_is_kept(client, filled, images, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = sorted(p for p in tmp_path.rglob("*"))
    assert client.post(SEARCH, content=content(images)).status_code == 200
    assert sorted(p for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/api/search?modality=thermal&galleries=1&query=0", "modality must be"),
        ("/api/search?modality=visible&galleries=x&query=0", "whole numbers"),
        ("/api/search?modality=visible&galleries=&query=0", "no gallery is ready"),
        ("/api/search?modality=visible&galleries=7&query=0", "no gallery 7"),
        ("/api/search?modality=visible&galleries=1&query=-1", "whole number"),
        ("/api/galleries/1/attention/99", "has no image 99"),
        ("/api/attention?modality=x&query=0", "modality must be"),
        ("/api/run/neighbours?modality=visible&row=0", "--run RUN"),
    ],
)
def test_bad_requests_say_what_is_wrong(client, filled, address, reason):
    answer = client.post(address)
    assert answer.status_code == 400 and reason in answer.json()["error"]


def test_requests_that_are_too_long_or_too_deep(client, filled):
    assert client.get("/api/queries/" + "9" * 5000).status_code == 404
    answer = client.post("/api/galleries", content="[" * 200_000)
    assert answer.status_code == 400 and "no JSON object" in answer.json()["error"]


def test_galleries_that_cannot_be_added(client, workspace, images):
    def added(path, modality="visible"):
        return client.post("/api/galleries", json={"path": path, "modality": modality})

    inside = str(images / "in")
    for path in (str(images / "outside"), inside + "/../outside", "/etc", "/", "relative"):
        answer = added(path)
        assert answer.status_code == 400 and "--allow DIR" in answer.json()["error"]
    assert "nothing at" in added(inside + "/none").json()["error"]
    assert "modality must be" in added(inside + "/visible", "x").json()["error"]
    assert "name a folder" in added(" ").json()["error"]
    assert client.post("/api/galleries", content=b"[]").status_code == 400
    assert added(inside + "/empty").status_code == 200  # what is in it shows when it is embedded
    workspace.wait()
    gallery = client.get("/api/galleries").json()["galleries"][0]
    assert gallery["state"] == "failed" and "no image below" in gallery["message"]


def test_names_of_any_bytes(client, workspace, images):
    folder = os.fsencode(images / "in") + b"/n\xff<b>"
    os.makedirs(folder)
    with open(folder + b"/\xfe\n.png", "wb") as file:
        file.write(content(images))
    path = os.fsdecode(folder)
    workspace.add(path, "visible")
    workspace.wait()
    shown = client.get("/api/galleries").json()["galleries"][0]
    assert shown["state"] == "ready" and shown["path"].isprintable()
    found = client.post("/api/search?modality=visible&galleries=1&query=0")
    assert found.json()["results"][0]["name"].isprintable()
    assert client.get("/api/galleries/1/images/0").status_code == 200
    assert all(name.isprintable() for name in client.get("/api/folders").json()["folders"])
    with open(folder + b"/bad\xfd.png", "wb"):
        pass
    workspace.renew(1)
    workspace.wait()
    assert "bad" in client.get("/api/galleries").json()["galleries"][0]["message"]


def test_links_out_of_a_gallery_are_refused(client, workspace, images):
    folder = images / "in" / "linked"
    raw_trees.picture(folder / "a.png", 1, (1, 1), False)
    os.symlink(images / "outside" / "secret.png", folder / "b.png")
    client.post("/api/galleries", json={"path": str(folder), "modality": "visible"})
    workspace.wait()
    assert (
        workspace.galleries[1].state == "failed" and "outside the folders" in workspace.galleries[1].message
    )
    (folder / "b.png").unlink()
    workspace.renew(1)
    workspace.wait()
    assert client.get("/api/galleries/1/images/0").status_code == 200
    (folder / "a.png").unlink()
    os.symlink(images / "outside" / "secret.png", folder / "a.png")  # after it was embedded
    assert "outside the folders" in client.get("/api/galleries/1/images/0").json()["error"]


def test_a_file_of_embeddings_cannot_show_what_lies_elsewhere(client, workspace, images):
    file = images / "in" / "hostile.npz"
    save_embeddings(file, embed_folder(workspace.trained, images / "outside", "visible"))
    client.post("/api/galleries", json={"path": str(file), "modality": ""})
    workspace.wait()
    found = client.post("/api/search?modality=visible&galleries=1&query=0").json()
    assert found["results"][0]["name"] == "secret.png"  # ranked by the file's rows
    assert "outside the folders" in client.get("/api/galleries/1/images/0").json()["error"]
    file.unlink()


# ------------------------------------------------------------------ who may ask


def test_only_this_page_on_this_machine_is_answered(client, filled):
    good = "/api/galleries"
    assert client.get(good).status_code == 200
    assert client.get(good, headers={"host": "evil.example"}).status_code == 400  # DNS rebinding
    assert client.get(good, headers={"host": "127.0.0.1.evil.example:8050"}).status_code == 400
    for no_host in ("", "[", "127.0.0.1:99999", "127.0.0.1@evil.example"):
        assert client.get(good, headers={"host": no_host}).status_code == 400
    assert client.get(good, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/static/app.js", headers={"sec-fetch-site": "same-site"}).status_code == 403
    for origin in ("http://evil.example", "http://127.0.0.1:9999", "null", ""):
        assert client.post(SEARCH + "&query=0", headers={"origin": origin}).status_code == 403
    del client.headers["origin"]
    assert client.delete("/api/galleries/1").status_code == 403 and 1 in filled.galleries


def test_without_the_token_nothing_is_shown(client):
    client.cookies.clear()
    for address in ("/", "/api/galleries", "/static/app.js", "/?token=wrong", "/api/galleries/1/images/0"):
        assert client.get(address).status_code == 403


def test_the_page_needs_nothing_from_elsewhere(client):
    texts = {a: client.get(a) for a in ("/", "/static/app.js", "/static/app.css")}
    for address, answer in texts.items():
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "//cdn" not in text, address
    page = texts["/"].text
    assert "<script>" not in page and "style=" not in page and " onclick" not in page
    assert "innerHTML" not in texts["/static/app.js"].text
    assert client.get("/static/../server.py").status_code == 404
    assert client.get("/static/%2e%2e/server.py").status_code == 404


# ------------------------------------------------------------------ stop and continue


def test_a_gallery_taken_away_stops_and_continues_later(client, workspace, images, monkeypatch):
    monkeypatch.setattr("sdcl.inference.embedding_file.PART", 4)
    embed, seen = workspace.trained.embed, []

    def embed_and_remove(pixels, *rest, **more):
        seen.append(len(pixels))
        if len(seen) == 2:
            workspace.remove(1)
        return embed(pixels, *rest, **more)

    monkeypatch.setattr(workspace.trained, "embed", embed_and_remove)
    workspace.add(images / "in" / "visible", "visible")
    workspace.wait()
    assert seen == [4, 4] and not workspace.galleries
    workspace.add(images / "in" / "visible", "visible")
    workspace.wait()
    assert seen == [4, 4, 4] and workspace.galleries[2].state == "ready"
    assert workspace.galleries[2].facts()["state"] == workspace_module.READY


@pytest.fixture
def slow(workspace, images, monkeypatch):
    """The sizes of what the model embeds, in this order;
    a gallery of 12 images is being embedded, 2 at a time.
    """
    workspace.add(images / "in" / "infrared", "infrared")
    workspace.wait()
    monkeypatch.setattr(workspace_module, "CPU_BATCH", 2)
    embed, seen = workspace.trained.embed, []

    def slowly(pixels, *rest, **more):
        seen.append(len(pixels))
        time.sleep(0.3)  # in which another thread asks, also on a busy machine
        return embed(pixels, *rest, **more)

    monkeypatch.setattr(workspace.trained, "embed", slowly)
    workspace.add(images / "in" / "visible", "visible")
    wait_until(lambda: seen)
    return seen


def test_a_query_waits_for_one_batch_of_a_gallery(workspace, slow):
    before = len(slow)
    workspace.search(*workspace.query_image(0), "infrared", [1], top=5, rerank=False)
    assert slow.index(1) <= before + 1
    workspace.wait()
    assert slow.count(2) == 6 and workspace.galleries[2].state == "ready"


def test_closing_stops_after_a_batch(workspace, slow):
    workspace.close()
    assert slow.count(2) < 6 and workspace.galleries[2].state == "embedding"
