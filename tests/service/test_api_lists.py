"""Lists over REST: pages partition them, filters narrow them."""

from starlette.testclient import TestClient

from tests.service.api import SWEEPS, all_items, submitted


def test_sweeps_are_listed_newest_first_and_pages_partition_them(
    web: TestClient, spec_text: str
) -> None:
    made = [submitted(web, spec_text.replace("tiny", f"s{n}"))["id"] for n in range(5)]

    seen = [sweep["id"] for sweep in all_items(web, SWEEPS, 2)]

    assert seen == made[::-1]


def test_pages_of_seeds_partition_them(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/seeds"
    whole = web.get(url).json()["items"]

    assert len({seed["seed_run_id"] for seed in whole}) == len(whole) == 6
    for limit in (1, 2, 4, 6, 7):
        assert all_items(web, url, limit) == whole


def test_seeds_are_filtered_by_state_and_configuration(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/seeds"
    one = web.get(url).json()["items"][0]["configuration_id"]

    assert len(web.get(url, params={"state": "pending"}).json()["items"]) == 6
    assert web.get(url, params={"state": "failed"}).json()["items"] == []
    assert len(web.get(url, params={"configuration": one}).json()["items"]) == 3
