"""apply, unapply, status, verify: what they do, why, and what they refuse to lose."""

import json
import os
import shutil
import subprocess

import pytest

from tests.patchqueue.world import FILES, git


def test_first_build_then_nothing_to_do(patched):
    shutil.rmtree(patched.tree)
    assert "because there is no tree yet" in patched.ok("apply")
    assert "line twenty" in patched.read("src/lib/alpha.py")
    assert patched.read("src/lib/new/gamma.py") == "gamma\n"
    assert os.access(patched.tree / "src/lib/tool.sh", os.X_OK)
    assert not (patched.tree / "setup.py").exists()
    inode = patched.tree.stat().st_ino
    assert "up to date, 2 patches" in patched.ok("apply")
    assert patched.tree.stat().st_ino == inode
    subjects = git(patched.tree, "log", "--format=%s").split("\n")
    assert subjects == ["Add gamma", "Spell twenty", "Pristine snapshot"]


def test_same_inputs_give_the_same_commits(patched):
    patched.ok("unapply")
    patched.ok("apply")
    first = git(patched.tree, "rev-parse", "HEAD")
    patched.ok("unapply")
    patched.ok("apply")
    assert git(patched.tree, "rev-parse", "HEAD") == first


def test_inside_another_repository_and_under_its_ignore_rules(patched):
    """`git apply` run in such a folder does nothing and reports success."""
    (patched.root / ".gitignore").write_text("*\n")
    git(patched.root, "init", "-q")
    git(patched.root, "commit", "-q", "--allow-empty", "-m", "outer")
    shutil.rmtree(patched.tree)
    patched.ok("apply")
    assert "line twenty" in patched.read("src/lib/alpha.py")
    assert git(patched.root, "log", "--format=%s") == "outer"
    patched.ok("verify")


def test_users_git_configuration_and_environment_do_not_matter(patched, monkeypatch):
    config = patched.scratch / "config"
    config.write_text("[core]\nautocrlf = true\nhooksPath = /tmp\n[init]\ndefaultBranch = other\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_WORK_TREE", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    shutil.rmtree(patched.tree)
    patched.ok("apply")
    patched.ok("verify")
    assert b"\r" not in (patched.tree / "src/lib/alpha.py").read_bytes()


def test_reason_pin_changed(patched):
    patched.pin(FILES | {"lib/delta.py": "delta\n"})
    archive = ("--archive", str(patched.archive))
    assert "the pin changed" in patched.status()["reasons"]
    assert "expected" in patched.fails(3, "apply", *archive)
    assert "because the pin changed" in patched.ok("apply", *archive, "--relock")
    assert patched.read("src/lib/delta.py") == "delta\n"


def test_reason_patch_gone_new_reordered(patched):
    series = patched.patches / "series"
    text = series.read_text()
    series.write_text("compat/alpha-twenty.patch\n")
    assert "because keras/gamma.patch is gone" in patched.ok("apply", "--relock")
    series.write_text(text)
    assert "because keras/gamma.patch is new" in patched.ok("apply", "--relock")
    series.write_text("keras/gamma.patch\ncompat/alpha-twenty.patch\n")
    out = patched.ok("apply")
    assert "because the order of the patches changed" in out


def edit_gamma(world):
    """Edit a patch by hand, consistently: content, blob id and all."""
    blob = subprocess.run(
        ["git", "hash-object", "--stdin"], input=b"GAMMA\n", capture_output=True, check=True
    ).stdout.decode().strip()  # fmt: skip
    path = world.patches / "keras/gamma.patch"
    rows = path.read_text().split("\n")
    at = rows.index("+gamma")
    rows[at] = "+GAMMA"
    index = max(i for i, row in enumerate(rows[:at]) if row.startswith("index "))
    rows[index] = f"index {'0' * 40}..{blob}"
    path.write_text("\n".join(rows))


def test_patch_edited_by_hand_needs_relock(patched):
    edit_gamma(patched)
    lock = patched.project.lock_path.read_text()
    message = patched.fails(3, "apply")
    assert patched.status()["tree"] in message
    assert "--relock" in message
    assert patched.read("src/lib/new/gamma.py") == "gamma\n"
    out = patched.ok("apply", "--relock")
    assert "because keras/gamma.patch changed" in out
    assert patched.read("src/lib/new/gamma.py") == "GAMMA\n"
    assert patched.project.lock_path.read_text() != lock
    patched.ok("verify")
    patched.ok("lint")


def test_wrong_lock_is_found_even_when_nothing_is_to_be_done(patched):
    path = patched.project.lock_path
    tree = patched.status()["tree"]
    path.write_text(path.read_text().replace(tree, "0" * 40))
    for command in ("apply", "verify"):
        message = patched.fails(3, command)
        assert tree in message
        assert "0" * 40 in message
    path.unlink()
    assert "no lock yet" in patched.fails(3, "apply")


def test_failing_patch_keeps_the_last_good_tree(patched):
    path = patched.patches / "compat/alpha-twenty.patch"
    path.write_text(path.read_text().replace(" line 19\n", " line nineteen\n"))
    before = patched.state()
    message = patched.fails(1, "apply")
    assert "patch does not apply: conflict" in message
    assert "hunk 1, line 19" in message
    assert "patches/compat/alpha-twenty.patch:" in message
    assert "hint: " in message
    assert patched.state() == before
    assert patched.status()["state"] == "stale"


def test_series_errors(patched):
    series = patched.patches / "series"
    text = series.read_text()
    series.write_text(text + "compat/absent.patch\n")
    assert "compat/absent.patch" in patched.fails(1, "apply")
    series.write_text(text + "keras/gamma.patch\n")
    assert "listed twice" in patched.fails(1, "apply")
    series.write_text(text + "../gamma.patch\n")
    patched.fails(1, "apply")


def test_a_patch_that_is_not_in_the_series_is_pointed_out(patched):
    (patched.patches / "keras/later.patch").write_text("kept for later\n")
    for command in ("apply", "status"):
        assert "not in the tree: keras/later.patch" in patched.run(command).err
    assert json.loads(patched.ok("status", "--json"))["unlisted"] == ["keras/later.patch"]


def test_edited_file(patched):
    path = patched.tree / "src/lib/beta.py"
    path.write_text("mine\n")
    (patched.tree / "src/lib/mine.py").write_text("mine too\n")
    status = patched.status()
    assert status["state"] == "edited"
    assert status["edits"]["files"] == [" M src/lib/beta.py", "?? src/lib/mine.py"]
    for command in ("apply", "unapply"):
        assert "src/lib/beta.py" in patched.fails(4, command)
    assert path.read_text() == "mine\n"


def test_forced_apply_saves_edits_first(patched):
    commit = patched.commit({"src/lib/empty.py": "filled\n"}, "keras/fill", "Fill")
    (patched.tree / "src/lib/beta.py").write_text("mine\n")
    (patched.tree / "src/lib/mine.py").write_text("mine too\n")
    out = patched.ok("apply", "--force")
    assert "edits saved in third_party/.saved/" in out
    assert "because the tree was edited" in out
    patched.ok("verify")
    assert not (patched.tree / "src/lib/mine.py").exists()

    (folder,) = patched.project.saved.iterdir()
    copy = patched.scratch / "copy"
    git(patched.scratch, "clone", "-q", str(folder / "commits.bundle"), "copy")
    assert git(copy, "rev-parse", "HEAD") == commit
    git(copy, "apply", str(folder / "edits.patch"))
    assert (copy / "src/lib/beta.py").read_text() == "mine\n"
    assert (copy / "src/lib/mine.py").read_text() == "mine too\n"


@pytest.mark.parametrize("where", ["branch", "stash", "amended", "detached", "dropped"])
def test_commits_that_are_in_no_patch(patched, where):
    tree = patched.tree
    if where == "branch":
        git(tree, "checkout", "-q", "-b", "mine")
        patched.commit({"src/lib/empty.py": "x\n"}, None, "Mine")
        git(tree, "checkout", "-q", "main")
    elif where == "stash":
        (tree / "src/lib/beta.py").write_text("mine\n")
        git(tree, "stash")
    elif where == "amended":
        git(tree, "commit", "-q", "--amend", "-m", "Other words")
    elif where == "detached":
        git(tree, "checkout", "-q", "--detach")
        patched.commit({"src/lib/empty.py": "x\n"}, None, "Mine")
    else:
        git(tree, "reset", "-q", "--hard", "HEAD~1")
    assert patched.status()["state"] == "edited"
    patched.fails(4, "apply")
    patched.fails(4, "unapply")
    patched.ok("apply", "--force")
    assert patched.status()["state"] == "up_to_date"


def test_generated_files_are_not_edits(patched):
    library = patched.tree / "src/lib"
    (library / "schema_pb2.py").write_text("generated = 2\n")
    (library / "schema.proto").write_text("proto\n")
    (library / "__pycache__").mkdir()
    (library / "__pycache__/beta.pyc").write_bytes(b"\0")
    assert patched.status()["state"] == "up_to_date"
    assert git(patched.tree, "status", "--porcelain") == ""
    patched.ok("apply")
    patched.ok("verify")
    assert (library / "schema_pb2.py").read_text() == "generated = 2\n"


def test_unapply_leaves_the_pristine_tree(patched):
    assert "unapplied, pristine" in patched.ok("unapply")
    assert git(patched.tree, "rev-parse", "HEAD^{tree}") == patched.tree_id
    assert git(patched.tree, "status", "--porcelain") == ""
    assert patched.read("src/lib/alpha.py") == FILES["lib/alpha.py"]
    assert not (patched.tree / "src/lib/new").exists()
    patched.ok("verify")
    assert "unapplied" in patched.ok("unapply")
    assert "because the patches are unapplied" in patched.ok("apply")


def test_unapply_without_a_tree_builds_the_pristine_one(world):
    world.ok("unapply", "--archive", str(world.archive))
    assert git(world.tree, "rev-parse", "HEAD^{tree}") == world.tree_id


@pytest.mark.parametrize("damage", ["content", "mode", "extra", "missing", "link"])
def test_verify_finds_what_git_status_may_miss(patched, damage):
    path = patched.tree / "src/lib/beta.py"
    if damage == "content":
        # Same size and time as before: git's cache believes that nothing happened.
        before = path.stat()
        path.write_bytes(path.read_bytes().swapcase())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "mode":
        path.chmod(0o755)
    elif damage == "extra":
        (patched.tree / "extra.py").write_text("")
    elif damage == "missing":
        path.unlink()
    else:
        path.unlink()
        path.symlink_to("alpha.py")
    message = patched.fails(3, "verify")
    assert "extra.py" in message if damage == "extra" else "src/lib/beta.py" in message


def test_verify_without_a_tree_and_with_a_stale_one(patched):
    series = patched.patches / "series"
    series.write_text("compat/alpha-twenty.patch\n")
    assert "stale" in patched.fails(3, "verify")
    shutil.rmtree(patched.tree)
    assert "absent" in patched.fails(3, "verify")


def test_folder_that_is_not_ours(world):
    world.tree.mkdir(parents=True)
    (world.tree / "thesis.txt").write_text("years of work")
    archive = ("--archive", str(world.archive), "--relock")
    world.fails(4, "apply", *archive)
    world.ok("apply", *archive, "--force")
    assert world.project.saved.exists()
    (saved,) = world.project.saved.rglob("thesis.txt")
    assert saved.read_text() == "years of work"


def test_empty_folder_is_no_tree(world):
    world.tree.mkdir(parents=True)
    world.build()
    world.ok("verify")


def test_a_foreign_tree_stays_until_the_new_one_is_whole(patched, monkeypatch):
    (patched.tree / ".git/patchqueue.json").unlink()
    (patched.tree / "mine").write_text("precious\n")
    before = patched.state()
    monkeypatch.setattr("patchqueue.tree._check_commits", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        patched.run("apply", "--force")
    assert patched.state() == before
    monkeypatch.undo()
    patched.ok("apply", "--force")
    assert [path.read_text() for path in patched.project.saved.rglob("mine")] == ["precious\n"]


def test_damaged_repository_is_repaired_by_force(patched):
    (patched.tree / ".git/HEAD").write_text("nonsense\n")
    assert "damaged" in patched.fails(4, "apply")
    patched.ok("apply", "--force")
    patched.ok("verify")


def test_wrong_usage(world):
    with pytest.raises(SystemExit) as error:
        world.run("aply")
    assert error.value.code == 2


def test_json_of_apply(patched):
    report = json.loads(patched.ok("apply", "--json"))
    assert (report["state"], report["changed"], report["patches"]) == ("up_to_date", False, 2)
