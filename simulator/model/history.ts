/** What happened, as one digest: two runs that agree to the last step have the same. */
import { createHash } from 'node:crypto';

const FIELDS = 4;
const ENTRIES = 4_096;

export class History {
  private readonly sha256 = createHash('sha256');
  private readonly buffer = new Float64Array(FIELDS * ENTRIES);
  private filled = 0;

  note(at: number, what: number, subject: number, value: number): void {
    const { buffer } = this;
    buffer[this.filled] = at;
    buffer[this.filled + 1] = what;
    buffer[this.filled + 2] = subject;
    buffer[this.filled + 3] = value;
    this.filled += FIELDS;
    if (this.filled === buffer.length) this.flush();
  }

  /** Lower-case hex; nothing can be noted afterwards. */
  digest(): string {
    this.flush();
    return this.sha256.digest('hex');
  }

  private flush(): void {
    this.sha256.update(new Uint8Array(this.buffer.buffer, 0, this.filled * Float64Array.BYTES_PER_ELEMENT));
    this.filled = 0;
  }
}
