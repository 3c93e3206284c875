import { writeSync } from 'node:fs';

/** Who speaks: the prefix vLLM puts in front of its lines. */
export interface Speaker {
  readonly name: string;
  readonly pid: number;
}

/**
 * Writes lines as vLLM does: its own to stdout with `(Name pid=N) LEVEL MM-DD HH:MM:SS [file.py:NN] `, uvicorn's plain,
 * tracebacks and progress bars to stderr. The label, when set, stands in front of every line. A closed pipe is ignored:
 * a real engine outlives its reader too.
 */
export class Log {
  private readonly label: string;
  private silent = false;

  constructor(label: string) {
    this.label = label === '' ? '' : `${label} `;
  }

  /** After this nothing is written any more: a process that hangs prints nothing. */
  silence(): void {
    this.silent = true;
  }

  line(speaker: Speaker, level: string, source: string, text: string): void {
    this.plain(`(${speaker.name} pid=${speaker.pid}) ${level} ${stamp(new Date())} [${source}] ${text}`);
  }

  plain(text: string): void {
    this.write(1, `${this.label}${text}\n`);
  }

  /** One or more lines to stderr. */
  error(text: string): void {
    this.write(2, `${this.label}${text.replaceAll('\n', `\n${this.label}`)}\n`);
  }

  /** A tqdm bar: `\r` first, a newline only when it is full. */
  progress(title: string, done: number, total: number, seconds: number): void {
    const percent = Math.round((done / total) * 100);
    const left = done === 0 ? '?' : clock((seconds / done) * (total - done));
    const rate = seconds === 0 || done === 0 ? '?it/s' : `${(done / seconds).toFixed(2)}it/s`;
    const text = `\r${this.label}${title}: ${String(percent).padStart(3)}% Completed | ${done}/${total} [${clock(seconds)}<${left}, ${rate}]`;
    this.write(2, done === total ? `${text}\n` : text);
  }

  /** Any other bar. */
  bar(text: string, full: boolean): void {
    this.write(2, `\r${this.label}${text}${full ? '\n' : ''}`);
  }

  private write(descriptor: 1 | 2, text: string): void {
    if (this.silent) return;
    const data = Buffer.from(text);
    let offset = 0;
    try {
      while (offset < data.length) offset += writeSync(descriptor, data, offset);
    } catch {
      // EPIPE or EAGAIN: the reader is gone or slow; losing a line is better than stopping the engine.
    }
  }
}

function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${String(Math.floor(whole / 60)).padStart(2, '0')}:${String(whole % 60).padStart(2, '0')}`;
}

function stamp(now: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(now.getMonth() + 1)}-${two(now.getDate())} ${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
}
