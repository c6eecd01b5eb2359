# SPDX-License-Identifier: MIT
"""Many releases of one service at once, each reached by its name, and no request where none belongs."""

import pytest

N_RELEASES = 12


@pytest.fixture(scope="module")
def releases(fleet, shop):
    """web 0.2.2 has the traffic; 1.0.0 to 1.0.11 run beside it."""
    fleet.ctl("deploy", "web@0.2.2")
    names = [f"1.0.{i}" for i in range(N_RELEASES)]
    fleet.client.run(["sh", "-e", "-c", r'''
        cd "$1"; git checkout --quiet -b many web-0.2.2
        for v in $2; do
            sed -i '/"web": {/,/"version"/s/"version": "[^"]*"/"version": "'$v'"/' stagecoach.json
            sed -i '/"build"/d' stagecoach.json
            git -c user.name=Ann -c user.email=ann@shop.example commit --quiet --allow-empty -am "web $v"
            git tag "web-$v"
        done''', "sh", shop, " ".join(names)])
    fleet.push(shop, *(f"web-{name}" for name in names))
    asked = [fleet.ctl("deploy", f"web@{name}", "--no-traffic", timeout=90) for name in names[:1]]
    for name in names[1:]:
        asked.append(fleet.ctl("deploy", f"web@{name}", "--no-traffic", timeout=90))
    return names


def test_twelve_releases_run_at_once(fleet, releases):
    rows = fleet.list()
    assert [name for name in releases if rows[f"web@{name}"]["running"] != 1] == []
    hosts = {i["host"] for i in fleet.instances("web")}
    assert hosts == {"app1", "app2"}


def test_each_is_reached_by_header_cookie_and_host(fleet, releases):
    wrong = []
    for name in releases:
        by_host = name.replace(".", "-") + ".web.shop.example"
        for how, words in (("header", {"headers": [f"X-Stagecoach-Version: {name}"]}),
                           ("cookie", {"headers": [f"Cookie: a=b; stagecoach-version={name}"]}),
                           ("host", {"host": by_host})):
            answered = fleet.version(**words)
            if answered != name:
                wrong.append(f"{name} by {how}: {answered}")
    assert wrong == []


def test_without_a_name_only_the_live_one_answers(fleet, releases):
    with fleet.load(20) as load:
        for _ in range(30):
            assert fleet.version() == "0.2.2"
        result = load.stop()
    assert result.failed == 0, result.why
    assert set(result["versions"]) == {"0.2.2"}


def test_a_version_that_does_not_run_is_refused(fleet, releases):
    status, _, body = fleet.get(headers=["X-Stagecoach-Version: 7.7.7"])
    assert status in (404, 421, 503), (status, body)


def test_release_names(fleet, releases, shop):
    commit = fleet.client.run(["git", "-C", shop, "rev-parse", "web-1.0.5"]).out.strip()
    for name, found in (("web@1.0.5", "1.0.5"), ("web@^1.0", "1.0.11"), ("web@0.2.x", "0.2.2"),
                        (f"web@{commit}", "1.0.5"), (f"web@{commit[:8]}", "1.0.5"), ("web@web-1.0.5", "1.0.5")):
        # What runs already has nothing to do, and the live one is refused --no-traffic: each names what it found.
        said = fleet.ctl("deploy", name, "--no-traffic", check=False)
        assert found in said.out + said.err, (name, said)
    for name in ("web@9.9.9", "web@nothing", "nothing", "web@^9"):
        said = fleet.ctl("deploy", name, check=False)
        assert said.status == 1 and said.err.strip(), (name, said)
