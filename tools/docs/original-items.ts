/**
 * What this gateway owes to its predecessor, a Python gateway with the same purpose: numbered behaviours that users of
 * it rely on or missed. The numbers are stable and appear in test titles as `[item N]`.
 */
export interface Promised {
  readonly id: string;
  readonly behaviour: string;
}

const items = (rows: Readonly<Record<number, string>>): readonly Promised[] =>
  Object.entries(rows).map(([id, behaviour]) => ({ id, behaviour }));

export const CONFIGURATION_ITEMS = items({
  1: 'A model file with `defaults`, `models` and `pools` is read; a key of the model wins over `defaults`, that over the environment.',
  2: 'A key nobody knows refuses the start; the message names it and what would be allowed.',
  3: 'No models, a blank `repo`, or an entry that is not a mapping refuses the start.',
  4: 'Types and ranges are checked strictly; `true` is not a number, a list is not a mapping.',
  5: 'Two models never share one list or mapping in memory.',
  6: '`ALLOWED_MODELS_JSON` names the models when there is no file.',
  7: 'An unusable `ALLOWED_MODELS_JSON` is a clear start-up error.',
  8: 'A model without a bound on its context runs at its native length: `check` says what that costs, strict mode refuses.',
  9: 'Arguments that the gateway answers for are refused in `extra_args`, however they are spelled.',
  10: 'Any other argument in `extra_args` replaces the one the gateway would have written; neither appears twice.',
  11: 'Pools hold at least one device, no blank one, and share none.',
  12: 'With pools, every model is in one that exists.',
  13: 'A model that names a pool where there are none is told so at the start, never in a request.',
  14: 'More GPUs than the pool has, or several for a co-located model, refuse the start; a large co-located share is warned about.',
  15: 'A configured GPU that the driver does not show refuses the start; the message lists those that are there.',
  16: 'Which GPUs are used: pools, else the pin, else all that are visible.',
  17: 'Every number is checked; the message holds name, value and range.',
  18: 'Settings that contradict each other are warned about.',
  19: 'Every variable that the program reads can be set in the shipped Compose files.',
  20: 'The effective configuration is logged and shown, without secrets.',
  21: 'The configuration can be changed without a restart; one that cannot be used leaves the old one in force.',
  22: 'One repository may back several models, each with its own engine and queue.',
  23: '`request_defaults` fill in absent fields; what the caller sent wins; `model` cannot be set there.',
  24: '`kv_reservation_seqs` sizes the reservation alone; left out it is `max_num_seqs`, and the engine is never told of it.',
  25: 'A folder where a file is expected is named as such.',
});

export const ADMISSION_ITEMS = items({
  26: 'Broken JSON, a body that is no object, a missing, unusable or unknown model: each its own 4xx, never a 500.',
  27: 'The answer to an unknown model lists the known ones.',
  28: 'Concurrency is limited per model; a stream holds its place until its last byte or the end of its client.',
  29: 'A full queue answers 429 at once with depth, bound and `retry-after`, and changes no counter.',
  30: 'After any mix of outcomes nothing waits and nothing is counted as waiting.',
  31: 'A waiting request that is aborted gives its place back exactly once.',
  32: 'A waiting request whose client left never reaches an engine.',
  33: 'A client that leaves during a plain answer ends the work of the engine.',
  34: 'A client that leaves during a stream ends the work of the engine and frees the slot.',
  35: 'A thousand requests that finish, fail or leave at random bring every counter back to where it was.',
  36: 'Waiting has a limit with its own status and code.',
  37: 'Requests that wait for a cold model take no running slot from anybody.',
  38: 'Load on one model does not slow down another one.',
  39: 'Headers tell the depth and bounds of the queue, in one spelling, on answers and refusals.',
});

export const RELAY_ITEMS = items({
  41: 'Method, path and query arrive unchanged; hop-by-hop headers do not; `model` in the body is the name the engine knows.',
  42: 'Answers, streamed or not, show the model name that the client used.',
  43: "An engine's error passes through with its status, its safe headers and its body.",
  44: 'An error in answer to a streaming request keeps its status instead of turning into a 200.',
  45: 'An engine that cannot be reached before the first byte of a stream is tried again, then reported with a proper status.',
  46: 'The first byte of a stream is sent on as soon as it is there.',
  47: 'Only failures to connect are tried again, three times with growing pauses; an HTTP status never is.',
  48: 'A kept-alive connection that dies before any byte of the answer is replaced without the client noticing.',
  49: 'Timeouts are 504, unreachable engines 502 or 503; no internal address appears in an answer.',
  50: 'Binary, text and multipart bodies pass in both directions.',
  51: 'Errors have one shape, with type and code.',
  52: '`/v1/models` and `/v1/models/{id}` answer full objects with the state of each model.',
  53: 'CORS preflights are answered when origins are configured; GET paths work.',
  54: 'Only listed paths reach an engine; its control paths do not.',
  55: 'A client’s credentials never reach an engine.',
  56: 'A stream that moves is never cut for being long.',
  57: 'Connecting and reading have separate limits, and no code path overrides them.',
  58: 'A request id is taken or made, returned, logged and sent on.',
});

export const LIFECYCLE_ITEMS = items({
  59: 'Any number of first requests at once starts one engine.',
  60: 'Place and memory of a start are booked in the same step that decides it; two models never get the same name.',
  61: 'Only a ready replica gets requests, and that is checked in the step that grants.',
  62: 'A request that meets a stopping replica waits for, or starts, the next one.',
  63: 'A model asked for while its engine stops starts again afterwards; no error, no second engine.',
  64: 'A start that fails or is cancelled gives its reservation back.',
  65: 'An engine whose start was called off is stopped, not forgotten.',
  66: 'All who wait for a failed start get the same outcome; the model backs off for growing spans.',
  67: 'The cause of a failed start reaches the client in short and the operator with the end of the log.',
  68: 'A model in back-off makes nobody leave.',
  69: 'A container that ends while it starts is noticed at once, with the end of its log; pulls and downloads show their progress.',
  70: 'A start has a limit; a hung one is ended and its device is free again.',
  71: 'An engine that dies while ready is noticed; the next request starts a new one.',
  72: 'Repeated crashes lead to back-off; an `always_on` model comes back by itself.',
  73: 'A restarted gateway adopts its healthy engines and ends the rest.',
  74: 'Shutdown stops admission, lets requests finish, then stops engines or leaves them, as configured.',
  75: 'A drain waits up to a limit before it ends requests; stopping twice is stopping once.',
  76: 'Who waits for a stop waits until the memory is free.',
  77: 'When Docker fails to stop an engine, its memory stays booked and the device says why.',
  78: 'A replica that has to leave gets no new request from the moment of the decision.',
  79: 'An idle engine stops after the time of its model; 0 and `always_on` mean never.',
  80: 'Idleness counts from the end of the last request and never while one runs.',
  81: 'A start that lost its owner is found by that fact, not by a timer.',
  82: 'Counts of running requests cannot leak, and no correction can hit live work.',
  83: 'Starts on one device take turns, on different devices they run side by side, without deadlock.',
  84: 'Waiting for a device is bounded and visible; one stuck device holds up nothing else.',
  85: '`always_on` models are loaded at start; load, unload and pin are available by API.',
  86: 'Containers carry labels: whose they are, for which model, from which settings.',
  87: 'A container of somebody else is never removed, whatever it is called.',
  88: 'The network of the engines is found by the end of its name; when it cannot be, readiness says so.',
});

export const LAUNCH_ITEMS = items({
  89: 'Model, share and number of GPUs are always passed; the context is capped at the native length, and left out when there is no bound.',
  90: 'Quantisation, type, number of sequences and eager mode are passed when set; gpt-oss gets asynchronous scheduling.',
  91: 'The served name is passed explicitly, so that repositories, paths and GGUF files answer to the name that is asked.',
  92: 'GPUs are pinned by UUID; the hub token goes only to engines that need it; long contexts and a library path can be allowed.',
  93: 'Cache and temporary files are mounted without a shared `/tmp`, and paths of the host are never taken for paths inside.',
  94: 'Shared memory, volumes and environment of an engine are set per model.',
  95: 'Each model may have its own image, and flags follow the version in it.',
});

export const DEVICE_ITEMS = items({
  96: 'All GPUs are read, each by its UUID.',
  97: 'A probe that fails at the start is tried again, and status and readiness say so meanwhile.',
  98: 'A probe that fails later is reported as that, not as a model too large; nothing crashes.',
  99: 'GPUs are read often and cheaply, without a container per start; status shows what they hold now.',
  100: 'Memory of other programs is respected, and counted beside our own also while a reading lags behind.',
  101: 'An engine that loads is never counted twice.',
  102: 'The budget caps what the gateway promises per GPU; what is physically free caps it too.',
  103: 'Without eviction the GPU with the most free memory is taken.',
  104: 'Only idle engines that nobody keeps leave, least recently used first, as few as possible.',
  105: 'Young engines are spared where there is a choice, but never block the only GPU.',
  106: 'Nothing is over-committed: what fits after somebody has left waits, with a bound; what never fits is refused.',
  107: 'A refusal names the right cause, with the numbers of each GPU.',
  108: 'Several GPUs per engine must be alike and distinct; who has to leave is counted once.',
  109: 'A model too large for one GPU takes the smallest valid number of them, KV cache included, and anew when the settings change.',
  110: 'A remembered number of GPUs that no longer fits the configuration is not used.',
  111: 'Co-located models share a GPU only with their kind, keep a margin, and get no share too small for their weights.',
  112: 'In budget mode the engine is told the share that was reserved, capped by the budget.',
  113: 'While GPUs cannot be read, one model runs at a time, within its pool or pin; that ends when they can.',
  114: 'What a start would do can be asked for without doing it.',
});

export const SIZING_ITEMS = items({
  115: 'Sizes of weights come from metadata, else from headers of the files, else from the index, with the token where needed.',
  116: 'Weights that are there twice are counted once; the local cache and local paths are sized without a network.',
  117: 'The KV cache follows the formula for heads, groups, nested configurations and types, byte for byte.',
  118: 'Sliding windows count by layer, by pattern or for all layers, and only where the model uses them.',
  119: 'Linear and recurrent layers hold a constant state instead of a growing cache.',
  120: 'Latent attention is sized by its latent.',
  121: 'KV heads are repeated where there are fewer of them than GPUs.',
  122: 'What is needed per GPU: the part that is split, times a factor, plus a fixed part.',
  123: 'A model that cannot be sized runs once at its share, within the budget, is measured, and is packed from then on.',
  124: 'A failed look at the hub is not remembered; a successful one is, and works offline.',
  125: 'A start that lacked KV memory raises the next estimate, within a bound, and says so.',
  126: 'A footprint is measured per process and GPU, else as growth, else taken from the estimate; tiny values are not believed.',
  127: 'Growth is measured against a settled base, and neighbours cannot disturb it.',
  128: 'A footprint is used only for the very same settings, image and class of GPU.',
  129: 'Footprint files of the predecessor migrate; broken entries are dropped; writes survive a crash.',
});

export const HUB_ITEMS = items({
  130: 'GGUF files are named by repository and quantisation, repository, file or URL; a name that only contains "gguf" is none.',
  131: 'The quantisation is matched exactly, with all parts of a split file and never a projector.',
  132: 'A repository for the tokenizer is looked at before it is named; else the embedded one is used.',
  133: 'A repository is downloaded once at a time, visibly, and the download can be called off.',
  134: 'Address, revision and token of the hub are configurable; the token shows up nowhere.',
});

export const OPERATION_ITEMS = items({
  135: 'Status shows devices, engines, queues and budgets from one moment.',
  136: 'Status is fresh, and shows no secrets or addresses to those who may not see them.',
  137: 'Liveness and readiness have endpoints; a gateway that is not ready says why.',
  138: 'Metrics for Prometheus: requests, durations, queues, refusals, retries, engines, starts, GPU memory.',
  139: 'Log lines are structured and carry the request id; the level can change while running.',
  140: 'What was decided, why, and how long it took can be read through the API, and so can the logs of engines.',
  141: 'API keys have roles and lists of models; the control plane is a surface of its own.',
  142: 'Bodies, headers and slow clients have limits.',
  143: 'The image runs as an ordinary user, whose only privilege is the group of the Docker socket.',
  145: 'A smoke script: reachability, status, cold, warm, stream, parallel requests, second model, first again; its exit code tells.',
  146: 'The rules of placement and configuration that the predecessor tested hold here.',
  147: 'What was wrong there is tested over HTTP here, with simulated engines, GPUs and a Docker daemon of the tests.',
  148: 'Three models with 50 requests each: exact counters, over 90 % of connections reused, no leak.',
  149: 'A burst of 1 000 requests: each is answered with 200 or 429, none with 5xx, none hangs.',
  151: '`/v1/models` answers at once while engines start and stop.',
  152: 'A step of the wall clock neither unloads nor keeps a model.',
  153: 'A restart or an outage of the Docker daemon is survived; afterwards what is there is what is known.',
  154: 'The documentation is generated from settings and defaults, or compared with them.',
  155: 'A left-over container of ours is removed and seen to be gone before a start takes its name.',
  156: 'A residency of 0 switches the sparing of young engines off; it counts from ready.',
  157: 'A model of unknown size makes nobody leave who need not.',
  158: 'Status shows budget per GPU and fraction in budget mode, and null in whole-card mode.',
  159: 'While an engine loads, refused connections and 503 are loading, other statuses are logged, and only 200 is ready.',
  160: 'A number of sequences below one is refused or replaced with a message, never left out.',
  161: 'When the own container or its network cannot be found, a warning and readiness say what was done instead.',
  162: 'Engines in containers are reached over their own network, on one port, and publish none.',
  163: 'A request whose engine stops being ready in between is not sent to it, and waits on instead of failing.',
  164: 'After a change that alters the footprint a model is measured again.',
  165: 'What was measured replaces the reservation in one step: at no moment is it absent or counted twice.',
  166: 'During a cold start operators and clients see the phase, the progress and the expected wait.',
});

export const ITEM_GROUPS: Readonly<Record<string, readonly Promised[]>> = {
  Configuration: CONFIGURATION_ITEMS,
  'Admission and queue': ADMISSION_ITEMS,
  Relay: RELAY_ITEMS,
  'Life of an engine': LIFECYCLE_ITEMS,
  'Launch of an engine': LAUNCH_ITEMS,
  'GPUs and placement': DEVICE_ITEMS,
  Sizes: SIZING_ITEMS,
  'GGUF and the model hub': HUB_ITEMS,
  'Operation and scale': OPERATION_ITEMS,
};

export const SCENARIOS: readonly Promised[] = [
  { id: 'A', behaviour: 'Fresh start: three models are asked for and come up independently.' },
  { id: 'B', behaviour: 'A connection fails, a later attempt succeeds, the client sees one answer.' },
  { id: 'C', behaviour: 'All attempts to connect fail: 503 with a reason.' },
  { id: 'D', behaviour: 'An HTTP error of the engine is relayed and not tried again.' },
  { id: 'E', behaviour: 'The queue is full: 429 at once.' },
  { id: 'F', behaviour: 'An exception right after the grant leaks neither slot nor counter.' },
  { id: 'G', behaviour: 'Three models with 50 requests each stay within the pool limit.' },
];

export const REQUIREMENTS: readonly Promised[] = [
  {
    id: 'S1',
    behaviour:
      'The three limits are read from the environment and validated; a bad value is named, defaulted and stays visible.',
  },
  { id: 'S2', behaviour: 'Connections are bounded by the product of the limits and all may be kept alive.' },
  { id: 'S3', behaviour: 'Connect, first byte, between chunks and total are separate limits.' },
  { id: 'S4', behaviour: 'Failures to connect are tried again, statuses never.' },
  { id: 'S5', behaviour: 'An exhausted pool is not tried again; by construction it does not happen.' },
  { id: 'S6', behaviour: 'Each model has its own concurrency and a bounded queue that answers 429 at once.' },
  { id: 'S7', behaviour: 'Counters stay exact whatever is thrown or cancelled, at any point.' },
  { id: 'S8', behaviour: 'A request waits for the cold start of its model; models start independently.' },
  {
    id: 'S9',
    behaviour:
      'Memory is planned before a start, never over-committed, and makes room by evicting the least recently used.',
  },
  { id: 'S10', behaviour: 'Idle engines stop, without a race against a request that just arrives.' },
  { id: 'S11', behaviour: 'A Compose file sets every variable that the program reads, each with its default.' },
  { id: 'S12', behaviour: 'The start-up log shows the whole effective configuration, without secrets.' },
  { id: 'S13', behaviour: 'Errors have the shape of the API that was called.' },
  { id: 'S14', behaviour: 'Settings are typed and bounded in one schema; there are no magic numbers.' },
  { id: 'S15', behaviour: 'The scenarios A to G hold.' },
  {
    id: 'S16',
    behaviour: 'Integration: 150 connections over three models with reuse measured; queue full; retry; disconnects.',
  },
  {
    id: 'S18',
    behaviour:
      'Environment, model file, routes and port of the predecessor are valid as they are; only the image name changes.',
  },
];
