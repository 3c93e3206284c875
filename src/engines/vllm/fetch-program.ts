/**
 * Runs where the engine runs, with its Python and its huggingface_hub: fetches into the shared cache what vLLM would load,
 * and nothing else. Its argument is one JSON object, so nothing of a configuration is ever read as code.
 *
 * Ends with 0 when the files are there, or when it is not the one to fetch them; else its last line says why. Prints
 * `Downloading N files:  P%|` whenever more bytes have come, and is silent while none do.
 */
export const FETCH_PROGRAM = String.raw`
import sys
sys.path[:] = [entry for entry in sys.path if entry != ""]
import glob, json, os, re, shutil, signal, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
asked = json.loads(sys.argv[1])
repo, revision, folder = asked["repo"], asked.get("revision"), asked.get("folder")


def say(text):
    print(text, flush=True)


def leave(text):
    say("Nothing to fetch: " + text)
    sys.exit(0)


def fail(text):
    say(" ".join(text.split())[:400])
    sys.exit(1)


if os.path.exists(repo):
    leave("%s is a folder of this machine" % repo)
try:
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
except ImportError as error:
    leave("%s; the engine fetches by itself" % error)

place = {"revision": revision, "cache_dir": folder}
SMALL = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".yaml", ".yml")
JUNK = re.compile(r"(^|/)(original|onnx|openvino|metal|gguf|\.git)(/|$)")
NOT_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state)[^/]*$")


def indexed(names):
    if "model.safetensors.index.json" not in names:
        return None
    path = hf_hub_download(repo, "model.safetensors.index.json", **place)
    with open(path, encoding="utf-8") as file:
        listed = set(json.load(file).get("weight_map", {}).values())
    return [name for name in names if name in listed] or None


def weights(names):
    shard = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$", re.I)
    if asked.get("file"):
        stem = shard.sub("", asked["file"])
        found = [name for name in names if name.lower().endswith(".gguf") and shard.sub("", name) == stem]
        return found or fail("the repository %s has no GGUF file of %s" % (repo, asked["file"]))
    if asked.get("quant"):
        end = re.compile(r"(^|[-._/])%s(-\d{5}-of-\d{5})?\.gguf$" % re.escape(asked["quant"]), re.I)
        found = [name for name in names if end.search(name) and "mmproj" not in name.lower()]
        return found or fail("the repository %s has no GGUF file of %s" % (repo, asked["quant"]))
    kind = asked.get("format") or "auto"
    if kind in ("dummy", "tensorizer", "sharded_state", "runai_streamer_sharded"):
        return []
    top = [name for name in names if "/" not in name and not NOT_WEIGHTS.search(name)]
    safe = [name for name in top if name.endswith(".safetensors")]
    consolidated = [name for name in safe if name.startswith("consolidated")]
    if kind == "mistral" and consolidated:
        return consolidated
    if safe and kind not in ("pt", "npcache"):
        return indexed(names) or [name for name in safe if name not in consolidated] or consolidated
    for end in (".bin", ".pt", ".pth"):
        found = [name for name in top if name.endswith(end)]
        if found:
            return found
    return safe


def repo_folder():
    return os.path.join(folder or constants.HF_HUB_CACHE, "models--" + repo.replace("/", "--"))


def in_cache():
    name = revision or "main"
    try:
        with open(os.path.join(repo_folder(), "refs", name), encoding="utf-8") as file:
            name = file.read().strip()
    except OSError:
        pass
    try:
        return len(os.listdir(os.path.join(repo_folder(), "snapshots", name))) > 0
    except OSError:
        return False


def held(root):
    total = 0
    for path, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                pass
    return total


def show(count, done, total):
    percent = 100 if total <= 0 else min(99, int(100 * done / total))
    say("Downloading %d files: %3d%%| %.2fG/%.2fG" % (count, percent, done / 1e9, total / 1e9))


def watch(root, count, before, start, total, ended):
    last = start
    while not ended.wait(1.0):
        now = held(root)
        if now > last:
            last = now
            show(count, before + now - start, total)


def main():
    info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    place["revision"] = info.sha or revision
    chosen = set(weights(list(sizes)))
    chosen |= {name for name in sizes if name.endswith(SMALL) and not JUNK.search(name)}
    cache = folder or constants.HF_HUB_CACHE
    root = repo_folder()
    snapshot = os.path.join(root, "snapshots", place["revision"] or "")
    missing = [name for name in chosen if not os.path.exists(os.path.join(snapshot, name))]
    total = sum(sizes[name] for name in chosen)
    needed = sum(sizes[name] for name in missing)
    blobs = os.path.join(root, "blobs")
    start = held(blobs)
    if missing:
        os.makedirs(cache, exist_ok=True)
        free = shutil.disk_usage(cache).free
        if free < needed:
            fail("No space left on device: %.1f GB are still to be fetched and %.1f GB are free" % (needed / 1e9, free / 1e9))
        show(len(chosen), total - needed, total)
    ended = threading.Event()
    arguments = (blobs, len(chosen), total - needed, start, total, ended)
    threading.Thread(target=watch, args=arguments, daemon=True).start()
    # By the name that was asked for: the engine looks it up by the same one.
    snapshot_download(repo, revision=revision, cache_dir=folder, allow_patterns=[glob.escape(name) for name in sorted(chosen)])
    ended.set()
    say("Downloading %d files: 100%%| %.2fG/%.2fG" % (len(chosen), total / 1e9, total / 1e9))


def unreachable(error):
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        text = type(error).__module__ + "." + type(error).__name__
        if re.search(r"ConnectionError|ConnectError|Timeout|OfflineModeIsEnabled|ProxyError|SSLError|gaierror", text):
            return True
        error = error.__cause__ or error.__context__
    return False


try:
    main()
except Exception as error:
    if unreachable(error):
        if not in_cache():
            fail("%s: the hub cannot be reached and the cache has nothing of %s" % (type(error).__name__, repo))
        leave("the hub cannot be reached (%s); the engine uses what the cache has" % type(error).__name__)
    fail("%s: %s" % (type(error).__name__, error))
`.trimStart();

/**
 * Finds the Python that a script on the path runs with (its first line, else the one beside it) and lets it run the program.
 * Words: the command, the program, its argument. A command that is no Python script fetches by itself.
 */
export const FIND_PYTHON = String.raw`
found=$(command -v -- "$1") || { echo "Nothing to fetch: $1 is not there"; exit 0; }
first=
IFS= read -r first < "$found" 2>/dev/null || :
case $first in
  '#!'*python*) python=${'$'}{first#'#!'} ;;
  *) python=$(dirname -- "$found")/python3
     [ -x "$python" ] || { echo "Nothing to fetch: $1 is no Python program; it fetches by itself"; exit 0; } ;;
esac
exec $python -c "$2" "$3"
`.trim();
