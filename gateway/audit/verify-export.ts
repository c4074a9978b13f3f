/**
 * Verification of an exported audit trail, without the gateway. Line by line, so that a file of any length can be
 * verified. Format and meaning: docs/audit.md.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { ChainCache } from '#pki/certificate/chain.ts';
import { verifyMessage } from '#pki/cms/verify.ts';
import { OID } from '#pki/der/oid.ts';
import { AuditExportLine, type AuditCheckpointBody, type AuditRecord } from '#schema/audit.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { parseJson } from '#schema/parse.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { CHAIN_START, verifyChain, type ChainHead } from './chain.ts';
import { checkpointBody, MAX_CHECKPOINT_BYTES } from './checkpoint.ts';

/** What the reader knows from elsewhere. Without any of it, the file is only shown to agree with itself. */
export interface ExportTrust {
  /** Root certificate, DER; or several, of which the file's is one: a realm has two while its root is replaced. */
  readonly root?: Uint8Array | readonly Uint8Array[];
  /** SHA-256 of the root certificate (DER), lower-case hex: the certificate is taken from the file. */
  readonly rootFingerprint?: string;
  /** A record number and its hash, noted earlier or taken from a checkpoint kept elsewhere: the file must hold it. */
  readonly known?: ChainHead;
}

export interface SealedUpTo {
  readonly seq: number;
  /** When it was signed, by the gateway's clock. */
  readonly time: string;
  /** SHA-256 of the checkpoint (CMS, DER), hex: to be compared with copies kept elsewhere. */
  readonly sha256: string;
}

export interface ExportVerification {
  readonly realm: string;
  readonly exportedAt: string;
  readonly first: number;
  readonly last: number;
  readonly records: number;
  /** The file starts with the first record that was ever written. */
  readonly fromTheStart: boolean;
  /** Hash of the last record. */
  readonly head: string;
  readonly checkpoints: number;
  /** Nobody without the audit key can have changed records up to here; undefined without a checkpoint. */
  readonly sealed: SealedUpTo | undefined;
  /** Records after the last checkpoint: linked, but not signed. Whoever had the file could have written them anew. */
  readonly unsealed: number;
  readonly root: {
    /** SHA-256 of the root certificate that the checkpoints chain to. */
    readonly fingerprint: string;
    /** False: the root is the file's own, so the signatures prove nothing about who made them. */
    readonly pinned: boolean;
  };
  readonly knownRecordFound: boolean | undefined;
}

export interface ExportVerifier {
  /** Takes the next line, without its line break. Errors: `audit.broken`, `trust.root-mismatch`. */
  line(text: string): void;
  /** What the whole file proves. Errors: `audit.broken` when it is cut off or lacks the known record. */
  end(): ExportVerification;
}

type Head = Extract<AuditExportLine, { kind: 'head' }>;

const broken = (line: number, what: string, cause?: unknown): CroupierError =>
  new CroupierError('audit.broken', `line ${line}: ${what}`, {
    detail: { line },
    ...(cause === undefined ? {} : { cause }),
  });

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Errors: `trust.root-mismatch`. */
function rootOf(
  head: Head,
  trust: ExportTrust,
): { readonly der: Uint8Array; readonly fingerprint: string; readonly pinned: boolean } {
  const der = Buffer.from(head.root, 'base64');
  const fingerprint = sha256(der);
  const expected = pinsOf(trust);
  if (expected !== undefined && !expected.includes(fingerprint)) {
    throw new CroupierError(
      'trust.root-mismatch',
      `the file names the root ${fingerprint}, not ${expected.join(' or ')}`,
    );
  }
  return { der, fingerprint, pinned: expected !== undefined };
}

/** Fingerprints of the roots that the reader knows. */
function pinsOf({ root, rootFingerprint }: ExportTrust): readonly string[] | undefined {
  if (root === undefined) return rootFingerprint === undefined ? undefined : [rootFingerprint];
  return (root instanceof Uint8Array ? [root] : root).map(sha256);
}

/** What has been read so far. */
interface Progress {
  readonly head: Head;
  readonly root: ReturnType<typeof rootOf>;
  chain: ChainHead | undefined;
  records: number;
  checkpoints: number;
  sealed: SealedUpTo | undefined;
}

export function createExportVerifier(trust: ExportTrust = {}): ExportVerifier {
  const cache = new ChainCache(8);
  let number = 0;
  let progress: Progress | undefined;
  let knownFound = trust.known === undefined ? undefined : false;

  const record = (state: Progress, next: AuditRecord): void => {
    const { head } = state;
    if (next.realm !== head.realm) throw broken(number, `record ${next.seq} belongs to the realm ${next.realm}`);
    if (next.seq > head.last) throw broken(number, `record ${next.seq} is beyond the last one, ${head.last}`);
    // What came before a file that starts later cannot be known; its first record says what it was.
    const before = head.first === 1 ? CHAIN_START : { seq: head.first - 1, hash: next.prevHash };
    try {
      state.chain = verifyChain([next], state.chain ?? before);
    } catch (error) {
      throw broken(number, errorMessage(error), error);
    }
    state.records += 1;
    if (trust.known?.seq === next.seq) {
      if (trust.known.hash !== next.hash) throw broken(number, `record ${next.seq} is not the one that was noted`);
      knownFound = true;
    }
  };

  /** The body, once its signature and the chain of its signer hold at the time it names. */
  const signedBody = (state: Progress, cms: Uint8Array): AuditCheckpointBody => {
    try {
      const body = checkpointBody(cms);
      const anchored = { anchors: [state.root.der], at: new Date(body.time), extendedKeyUsage: OID.auditSigning };
      verifyMessage(cms, anchored, { maxBytes: MAX_CHECKPOINT_BYTES, cache });
      return body;
    } catch (error) {
      throw broken(number, `the checkpoint is not signed as it must be: ${errorMessage(error)}`, error);
    }
  };

  const checkpoint = (state: Progress, cms: Uint8Array): void => {
    const body = signedBody(state, cms);
    const { chain, sealed, head } = state;
    if (chain === undefined) throw broken(number, 'a checkpoint stands before the first record');
    if (body.realm !== head.realm) throw broken(number, `the checkpoint belongs to the realm ${body.realm}`);
    if (body.seq !== chain.seq)
      throw broken(number, `the checkpoint seals record ${body.seq}, but stands behind ${chain.seq}`);
    if (body.hash !== chain.hash) throw broken(number, `record ${chain.seq} is not the one that the checkpoint seals`);
    if (sealed !== undefined && body.previous !== sealed.sha256) {
      throw broken(number, 'the checkpoint does not follow the one before');
    }
    if (sealed === undefined && head.first === 1 && body.previous !== null) {
      throw broken(number, 'the checkpoint follows one that is missing');
    }
    state.sealed = { seq: body.seq, time: body.time, sha256: sha256(cms) };
    state.checkpoints += 1;
  };

  const parseLine = (text: string): AuditExportLine => {
    let parsed: AuditExportLine;
    try {
      parsed = parseJson(AuditExportLine, text, 'audit.broken', 'it is no line of an audit export');
    } catch (error) {
      throw broken(number, errorMessage(error), error);
    }
    // One form only: no member that the hash does not cover, no second one of the same name.
    if (canonicalJson(parsed) !== text) throw broken(number, 'it is not in the form in which it was written');
    return parsed;
  };

  return {
    line(text) {
      number += 1;
      const line = parseLine(text);
      if (line.kind === 'head') {
        if (progress !== undefined) throw broken(number, 'a second head line');
        if (line.first < 1 || line.last < line.first) throw broken(number, 'the numbers of the head line cannot be');
        progress = {
          head: line,
          root: rootOf(line, trust),
          chain: undefined,
          records: 0,
          checkpoints: 0,
          sealed: undefined,
        };
        return;
      }
      if (progress === undefined) throw broken(number, 'the file does not start with its head line');
      if (line.kind === 'record') record(progress, line.record);
      else checkpoint(progress, Buffer.from(line.cms, 'base64'));
    },

    end() {
      if (progress === undefined) throw new CroupierError('audit.broken', 'the file is empty');
      const { head, chain, root, sealed, records, checkpoints } = progress;
      if (chain === undefined || chain.seq !== head.last) {
        throw new CroupierError(
          'audit.broken',
          `the file ends at record ${chain?.seq ?? head.first - 1}, but it was exported up to ${head.last}`,
        );
      }
      if (knownFound === false) {
        throw new CroupierError('audit.broken', `the file does not hold record ${trust.known?.seq}, which was noted`);
      }
      return {
        realm: head.realm,
        exportedAt: head.exportedAt,
        first: head.first,
        last: head.last,
        records,
        fromTheStart: head.first === 1,
        head: chain.hash,
        checkpoints,
        sealed,
        unsealed: chain.seq - (sealed?.seq ?? head.first - 1),
        root: { fingerprint: root.fingerprint, pinned: root.pinned },
        knownRecordFound: knownFound,
      };
    },
  };
}

/**
 * Verifies an export. On return these hold: every line is exactly as it was written; the records are numbered without a
 * gap from `first` to `last`, each hashes to what it says and holds the hash of the one before; every checkpoint stands
 * behind the record it seals, holds its hash, follows the checkpoint before, and is signed by a certificate for audit
 * signing that chains to the root, all valid when it was signed. Not verified: revocation of the audit signer, and that
 * the tail behind the last checkpoint is all there was (compare `sealed` and `head` with what was kept elsewhere).
 * Errors: `audit.broken`, naming the line; `trust.root-mismatch`.
 */
export async function verifyExport(
  lines: Iterable<string> | AsyncIterable<string>,
  trust: ExportTrust = {},
): Promise<ExportVerification> {
  const verifier = createExportVerifier(trust);
  for await (const line of lines) verifier.line(line);
  return verifier.end();
}
