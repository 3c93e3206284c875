/** One HTTP/1.1 response, read strictly as it comes (RFC 9112 §6 and §7.1): a body without its proper end is not whole. */

const HEAD_END = '\r\n\r\n';

export class ResponseReader {
  status = 0;
  readonly headers = new Map<string, string>();
  body = '';
  /** Ended as its framing says. */
  whole = false;
  /** In words; null = nothing wrong so far. */
  broken: string | null = null;
  private pending = '';
  private stage: 'head' | 'fixed' | 'until close' | 'size' | 'data' | 'data end' | 'trailers' = 'head';
  private left = 0;

  get started(): boolean {
    return this.status !== 0;
  }

  take(data: Buffer): void {
    if (this.whole) {
      this.broken = 'bytes after the end of the answer';
      return;
    }
    this.pending += data.toString('latin1');
    while (!this.whole && this.broken === null && this.step());
    if (this.whole && this.pending !== '') this.broken = 'bytes after the end of the answer';
  }

  /** The connection is over. */
  end(): void {
    if (this.stage === 'until close' && this.broken === null) this.whole = true;
  }

  /** False when more has to come first. */
  private step(): boolean {
    switch (this.stage) {
      case 'head':
        return this.head();
      case 'fixed':
      case 'data':
        return this.some();
      case 'until close':
        this.body += this.pending;
        this.pending = '';
        return false;
      case 'size':
        return this.line((text) => this.chunk(text));
      case 'data end':
        return this.line((text) => {
          if (text !== '') this.broken = 'a chunk is longer than its size';
          this.stage = 'size';
        });
      case 'trailers':
        return this.line((text) => {
          if (text === '') this.whole = true;
        });
    }
  }

  private head(): boolean {
    const end = this.pending.indexOf(HEAD_END);
    if (end < 0) return false;
    const [first = '', ...lines] = this.pending.slice(0, end).split('\r\n');
    this.pending = this.pending.slice(end + HEAD_END.length);
    const status = /^HTTP\/1\.1 (\d{3})/.exec(first)?.[1];
    if (status === undefined) {
      this.broken = `not a response: ${first.slice(0, 40)}`;
      return false;
    }
    this.status = Number(status);
    for (const line of lines) {
      const colon = line.indexOf(':');
      this.headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const length = this.headers.get('content-length');
    if (this.headers.get('transfer-encoding') === 'chunked') this.stage = 'size';
    else if (length === undefined) this.stage = 'until close';
    else {
      this.stage = 'fixed';
      this.left = Number(length);
      this.whole = this.left === 0;
    }
    return !this.whole;
  }

  private some(): boolean {
    const got = this.pending.slice(0, this.left);
    this.body += got;
    this.pending = this.pending.slice(got.length);
    this.left -= got.length;
    if (this.left > 0) return false;
    if (this.stage === 'fixed') this.whole = true;
    else this.stage = 'data end';
    return !this.whole;
  }

  private chunk(text: string): void {
    const size = /^([\da-f]+)(?:;|$)/i.exec(text)?.[1];
    if (size === undefined) {
      this.broken = `not the size of a chunk: ${text.slice(0, 40)}`;
      return;
    }
    this.left = Number.parseInt(size, 16);
    this.stage = this.left === 0 ? 'trailers' : 'data';
  }

  private line(use: (text: string) => void): boolean {
    const end = this.pending.indexOf('\r\n');
    if (end < 0) return false;
    const text = this.pending.slice(0, end);
    this.pending = this.pending.slice(end + 2);
    use(text);
    return true;
  }
}
