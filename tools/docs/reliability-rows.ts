/** What the gateway promises to keep true, family by family, in plain words. Ids stand in test titles as `[I-16]`. */

export interface Kept {
  readonly id: string;
  readonly promise: string;
  /** Why there is nothing to show, or only a part. */
  readonly notBuilt?: string;
  /** What shows it instead of a test. */
  readonly note?: string;
}

const SLEEP = 'no engine is put to sleep in this version';

export const FAMILIES: Readonly<Record<string, readonly Kept[]>> = {
  'Waiting in line': [
    { id: 'I-1', promise: 'Every request that came in is in exactly one column of the books, and the columns add up.' },
    { id: 'I-2', promise: 'No line grows beyond its bound, nor do the bodies of those who wait.' },
    { id: 'I-3', promise: 'A gauge shows how many there really are, counted anew.' },
    { id: 'I-4', promise: 'A request waits, runs or is over, never two of these, and ends once.' },
    { id: 'I-5', promise: 'Let in or turned away: decided in one step, and who is turned away holds nothing.' },
    { id: 'I-6', promise: 'Nobody is told that the line is full unless it is.' },
    {
      id: 'I-7',
      promise: 'Turning somebody away costs next to nothing, however many come.',
      note: 'measured: refusals of the loads below',
    },
    {
      id: 'I-8',
      promise: 'First come, first served, within a model.',
      notBuilt: 'there are no classes of clients, and no other order under overload',
    },
    { id: 'I-9', promise: 'A stream that cannot be served hears so by its status, not within the stream.' },
    { id: 'I-10', promise: 'Nobody who waits is overtaken for ever.', notBuilt: 'shares of tenants' },
    { id: 'I-11', promise: 'Nobody waits longer than the configured time.' },
    { id: 'I-12', promise: 'Who left is out of the line at once, and starts nothing.' },
    { id: 'I-13', promise: 'A model that is cold or broken holds up no other that could answer.' },
    {
      id: 'I-14',
      promise: 'When to come back is told within bounds, differs from client to client, and grows with the line.',
    },
    { id: 'I-15', promise: 'A free slot and somebody who waits for it never stay beside each other.' },
  ],
  'Slots and connections': [
    { id: 'I-16', promise: 'An engine never works on more requests than it has slots.' },
    { id: 'I-17', promise: 'A slot is taken until the last byte is relayed, and no longer.' },
    { id: 'I-18', promise: 'Giving a slot back twice, or to an engine that came after, changes nothing.' },
    { id: 'I-19', promise: 'Slots are given out only on engines that are ready in that very moment.' },
    { id: 'I-20', promise: 'A request is at one engine at a time.' },
    { id: 'I-21', promise: 'With a slot there always is a connection: nobody waits for one.' },
    { id: 'I-22', promise: 'A request never reaches an engine other than the one it was given.' },
    { id: 'I-23', promise: 'Connections to engines are used again.' },
    { id: 'I-24', promise: 'Without requests no socket, timer or listener of theirs is left.' },
  ],
  'Lives of engines': [
    { id: 'I-25', promise: 'An engine goes through its states in their order only.' },
    { id: 'I-26', promise: 'However many ask for a cold model, it is started once.' },
    { id: 'I-27', promise: 'Every start has somebody who sees it to its end.' },
    { id: 'I-28', promise: 'Ready means: it answered, under the right name, and is still the one that was started.' },
    { id: 'I-29', promise: 'A start may take long while it makes progress, and has an end for certain.' },
    { id: 'I-30', promise: 'Whoever asks while the engine stops waits for the next one, which will come.' },
    {
      id: 'I-31',
      promise: 'A failed start tells all who wait, with one reason, and the next one waits longer each time.',
    },
    { id: 'I-32', promise: 'A start that nobody waits for any more is finished or ended, not forgotten.' },
    { id: 'I-33', promise: 'Stopping twice is stopping once.' },
    { id: 'I-34', promise: 'The word of an engine that was replaced does not touch its successor.' },
    { id: 'I-35', promise: 'No two engines share a name, a port or a device beyond its memory.' },
    { id: 'I-36', promise: 'After faults are over, what runs is what should run.' },
    { id: 'I-37', promise: 'An engine that runs with another configuration than wanted counts as another engine.' },
  ],
  'Device memory': [
    { id: 'I-38', promise: 'Never more is promised on a device than it has.' },
    { id: 'I-39', promise: 'What engines really take never exceeds a device through what the gateway did.' },
    {
      id: 'I-40',
      promise: 'Memory is booked in the step that decides where a model goes.',
      note: 'the step that plans also books, and only then asks for a start',
    },
    { id: 'I-41', promise: 'Memory is given back once, and not before it is seen to be free.' },
    { id: 'I-42', promise: 'An engine that starts, drains, stops or hangs still counts in full.', notBuilt: SLEEP },
    { id: 'I-43', promise: 'On a device one engine at a time changes its memory.' },
    {
      id: 'I-44',
      promise: 'Engines on several devices never wait for each other in a circle.',
      note: 'an operation takes all of its devices in one step, or none',
    },
    { id: 'I-45', promise: 'A model on several devices has its share on each, or none at all.' },
    { id: 'I-46', promise: 'What was learned of a model counts only for the configuration it was learned with.' },
    { id: 'I-47', promise: 'Nobody can overrule the arguments that the gateway itself has to set.' },
    { id: 'I-48', promise: 'On a device that cannot be read nothing starts; what runs there runs on.' },
  ],
  'Who has to leave': [
    {
      id: 'I-49',
      promise: 'An engine that works is not stopped before its time to finish is over, and who is cut off hears why.',
    },
    { id: 'I-50', promise: 'What is pinned or has just come stays, and nobody leaves in vain.' },
    { id: 'I-51', promise: 'The same situation always has the same ones leave, and no more than needed.' },
    { id: 'I-52', promise: 'Models that do not fit together take turns, no faster than agreed.' },
    { id: 'I-53', promise: 'Only an idle engine falls asleep.', notBuilt: SLEEP },
    { id: 'I-54', promise: 'No request reaches an engine that sleeps.', notBuilt: SLEEP },
    { id: 'I-55', promise: 'Sleep counts for what it was seen to free.', notBuilt: SLEEP },
    { id: 'I-56', promise: 'Idle time counts from the end of the last request, and only requests end it.' },
  ],
  'What clients get': [
    { id: 'I-57', promise: 'One request, one answer.' },
    {
      id: 'I-58',
      promise: 'What a client receives is what the engine sent, in order, to the end or to a marked break.',
    },
    { id: 'I-59', promise: 'Nobody receives what belongs to another.' },
    { id: 'I-60', promise: 'The first piece of an answer goes out as soon as it is here.' },
    { id: 'I-61', promise: 'A slow client slows its engine down; the gateway does not pile up what it does not take.' },
    { id: 'I-62', promise: 'A broken answer never looks like a whole one.' },
    { id: 'I-63', promise: 'What an engine answers, errors included, is passed on as it is.' },
    { id: 'I-64', promise: 'Headers of one connection stay on it; each hop frames its messages anew.' },
    { id: 'I-65', promise: 'Keys of clients never reach an engine, and those of engines no client.' },
    { id: 'I-66', promise: 'A request has one id in the answer, the log and at the engine.' },
    { id: 'I-67', promise: 'An answer whose end nothing marks counts as whole only if its content does.' },
    { id: 'I-68', promise: 'When a client leaves, its engine stops working for it at once.' },
    { id: 'I-69', promise: 'Answers that may not have a body have none, and interim ones are not taken for final.' },
    { id: 'I-70', promise: 'No single request can end the gateway.' },
  ],
  'Trying again': [
    { id: 'I-71', promise: 'Nothing is tried again once an answer has begun.' },
    { id: 'I-72', promise: 'Tries are few, and few in relation to all requests.' },
    { id: 'I-73', promise: 'Nothing is tried again for a client that left, after its time, or during the end.' },
    { id: 'I-74', promise: 'A further try keeps its place.' },
    { id: 'I-75', promise: 'The status of an engine is an answer, not a reason to try again.' },
    { id: 'I-76', promise: 'Each wait has its own timer, and each timer somebody who takes it back.' },
    { id: 'I-77', promise: 'No duration is one that a timer cannot hold.' },
    {
      id: 'I-78',
      promise: 'An engine that fails again and again is tried with one request first.',
      notBuilt: 'there is no circuit breaker: a replica is ready or it is not',
    },
  ],
  'Leaving early': [
    { id: 'I-79', promise: 'At whatever point a request is given up, nothing of it stays.' },
    {
      id: 'I-80',
      promise: 'Cleaning up changes the books first and waits afterwards.',
      note: 'nothing in the core can wait: it is synchronous',
    },
    { id: 'I-81', promise: 'Who leaves does not end a start that others wait for.' },
    { id: 'I-82', promise: 'Signals that live long do not collect listeners.' },
    { id: 'I-83', promise: 'A client that closes its side before the answer has left.' },
  ],
  'The end and what comes after': [
    { id: 'I-84', promise: 'From the first signal on nobody new is let in, and everybody is told.' },
    { id: 'I-85', promise: 'Who was let in before and can finish in time does.' },
    { id: 'I-86', promise: 'The end takes no longer than configured, and its exit code tells how it went.' },
    { id: 'I-87', promise: 'Nothing that should go is left behind.' },
    { id: 'I-88', promise: 'After a sudden death every engine is found again or ended, none runs twice.' },
    { id: 'I-89', promise: 'A file of state is the old one or the new one; a damaged one is set aside.' },
    { id: 'I-90', promise: 'Two gateways never share their state.' },
    { id: 'I-91', promise: 'A name alone never makes an engine ours.' },
    { id: 'I-92', promise: 'While Docker, the probe or the disk is away, what is ready goes on serving.' },
  ],
  'Configuration and what is told': [
    {
      id: 'I-93',
      promise: 'A wrong file refuses to start, with every problem at once, its place and what is allowed.',
    },
    { id: 'I-94', promise: 'A new configuration holds as a whole or not at all, and running requests keep theirs.' },
    { id: 'I-95', promise: 'Limits that follow from each other are checked together.' },
    { id: 'I-96', promise: 'Every request is one line in the log and one count of one outcome.' },
    { id: 'I-97', promise: 'What clients write never becomes a label of a metric.' },
    { id: 'I-98', promise: 'No prompt, answer or key is in the log.' },
    { id: 'I-99', promise: 'The event loop is not held up.', note: 'measured without a limit: the soak below' },
    { id: 'I-100', promise: 'A seed of the simulation always tells the same story.' },
  ],
};
