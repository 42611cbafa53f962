"""Every rule finds its own damage; the undamaged queue is the negative control of all."""

import json

import pytest

FIRST = "compat/alpha-twenty.patch"


def edit(world, old, new):
    path = world.patches / FIRST
    text = path.read_bytes()
    assert old.encode() in text
    path.write_bytes(text.replace(old.encode(), new.encode(), 1))


def rules(world):
    done = world.run("lint", "--json")
    found = json.loads(done.out)
    assert done.code == (1 if found else 0)
    return [problem["rule"] for problem in found]


def test_sound_queue(patched):
    assert rules(patched) == []
    assert "in order" in patched.ok("lint")


def crlf(world):
    path = world.patches / FIRST
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def in_both(old, new):
    def damage(world):
        path = world.patches / FIRST
        path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))

    return damage


def one(old, new):
    return lambda world: edit(world, old, new)


def listed_twice(world):
    with (world.patches / "series").open("a") as file:
        file.write(FIRST + "\n")


def renamed(name):
    def damage(world):
        (world.patches / FIRST).rename(world.patches / name)
        series = world.patches / "series"
        series.write_text(series.read_text().replace(FIRST, name))

    return damage


DIFF = "diff --git a/src/lib/alpha.py b/src/lib/alpha.py\n"
DAMAGE = {
    "first-line": one("From 0000000", "From 1230000"),
    "header": one("From: Dev Eloper", "Form: Dev Eloper"),
    "header (no subject)": one("Subject: [PATCH] Spell twenty", "Subject: [PATCH]"),
    "header (no address)": one(" <dev@example.org>", ""),
    "header (no first line)": one("From 0000000", "Frm 0000000"),
    "body": one("The old way fails.\n\n", ""),
    "upstream-status": one("Upstream-Status: Pending\n", ""),
    "upstream-status-malformed": one("Status: Pending", "Status: Maybe"),
    "upstream-status-malformed (no reason)": one("Status: Pending", "Status: Inappropriate"),
    "upstream-status-malformed (no url)": one("Status: Pending", "Status: Submitted upstream"),
    "upstream-status-malformed (no commit)": one("Status: Pending", "Status: Backport later"),
    "upstream-status-malformed (two)": one(
        "Upstream-Status: Pending\n", "Upstream-Status: Pending\nUpstream-Status: Pending\n"
    ),
    "remove-when": one("Remove-When: upstream does it\n", ""),
    "remove-when (empty)": one("Remove-When: upstream does it\n", "Remove-When: \n"),
    "patch-trailer": one("Remove-When: up", "Patch: compat/alpha-twenty\nRemove-When: up"),
    "series-missing": lambda world: (world.patches / FIRST).unlink(),
    "series-twice": listed_twice,
    "not-in-series": lambda world: (world.patches / "compat/stray.patch").write_text("x"),
    "crlf": crlf,
    "unsafe-path": in_both("src/lib/alpha.py", "../../alpha.py"),
    "unsafe-path (absolute)": in_both("/src/lib/alpha.py", "//etc/alpha.py"),
    "unsafe-path (git)": in_both("src/lib/alpha.py", ".git/hooks/x"),
    "unsafe-path (link)": one(" 100644\n--- a", " 120000\n--- a"),
    "generated": in_both("src/lib/alpha.py", "src/lib/alpha_pb2.py"),
    "no-change": one("-line 20\n+line twenty\n", " line 20\n"),
    "no-change (no diff)": lambda world: edit(
        world, (world.patches / FIRST).read_text().partition("---\n")[2], ""
    ),
    "binary": one("--- a/src/lib/alpha.py\n", "GIT binary patch\n"),
    "malformed": one("@@ -17,7 +17,7 @@", "@@ -17,8 +17,7 @@"),
    "malformed (names differ)": one("+++ b/src/lib/alpha.py", "+++ b/src/lib/beta.py"),
    "malformed (rename)": one("--- a/src/lib/alpha.py\n", "rename from x\n"),
    "malformed (junk)": one(DIFF, DIFF + "junk\n"),
    "signature": lambda world: (world.patches / FIRST).open("a").write("-- \n2.39.5\n"),
    "name": renamed("compat/Alpha_20.patch"),
    "name (no area)": renamed("alpha.patch"),
    "lock": one("The old way", "The older way"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_rule(patched, name):
    DAMAGE[name](patched)
    assert name.partition(" ")[0] in rules(patched)


def test_short_index(patched):
    path = patched.patches / FIRST
    rows = path.read_text().split("\n")
    at = next(i for i, row in enumerate(rows) if row.startswith("index "))
    old, _, new = rows[at].split()[1].partition("..")
    rows[at] = f"index {old[:12]}..{new[:12]} 100644"
    path.write_text("\n".join(rows))
    assert rules(patched) == ["short-index"]


@pytest.mark.parametrize(
    "status",
    ["Submitted https://example.org/pull/1", "Backport 1a2b3c4d", "Inappropriate [ours alone]"],
)
def test_accepted_status(patched, status):
    edit(patched, "Status: Pending", f"Status: {status}")
    assert rules(patched) == ["lock"]


def test_lint_needs_neither_archive_nor_tree_nor_git(patched, monkeypatch):
    patched.ok("unapply")
    patched.archive.unlink()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert rules(patched) == []


def test_problem_names_file_and_line(patched):
    edit(patched, "@@ -17,7 +17,7 @@", "@@ -17,8 +17,7 @@")
    done = patched.run("lint")
    assert f"patches/{FIRST}:" in done.err
    assert "[malformed]" in done.err


@pytest.mark.parametrize("name", ["crlf", "unsafe-path", "unsafe-path (link)", "generated"])
def test_apply_refuses_it_too(patched, name):
    before = patched.state()
    DAMAGE[name](patched)
    patched.fails(1, "apply", "--relock")
    assert patched.state() == before
