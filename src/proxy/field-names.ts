/** What is to be done with a header field depends on its name alone, and names are few: each way of writing one is judged once. */

/** Judged names that are remembered, and the longest of them. */
const MAX_JUDGED = 1_024;
const MAX_LENGTH = 64;

export class FieldNames {
  private readonly judge: (name: string) => boolean;
  private readonly judged = new Map<string, string>();

  /** `judge` is told the name in lower case, and says the same of it each time. */
  constructor(judge: (name: string) => boolean) {
    this.judge = judge;
  }

  /** The name in lower case; '' when the verdict is no. */
  of(written: string): string {
    const known = this.judged.get(written);
    if (known !== undefined) return known;
    const name = written.toLowerCase();
    const kept = this.judge(name) ? name : '';
    if (written.length <= MAX_LENGTH) {
      // Whoever makes names up costs the others a look at theirs, no more.
      if (this.judged.size >= MAX_JUDGED) this.judged.clear();
      // A copy: what was cut out of a head would keep all of it.
      this.judged.set(Buffer.from(written, 'latin1').toString('latin1'), kept);
    }
    return kept;
  }
}
