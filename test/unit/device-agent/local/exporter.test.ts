import { execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Exporter, type ExportKeys } from '#agent/local/exporter.ts';
import { silentLog, type Log } from '#agent/log.ts';
import { ManualClock, systemClock, type Clock } from '#schema/runtime/clock.ts';
import { FakeAgentView, makeCredential } from '#test/support/fake-agent-view.ts';

const credential = makeCredential();
const successor = makeCredential();

let base: string;
let directory: string;
let view: FakeAgentView;
const open: Exporter[] = [];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'croupier-export-'));
  directory = join(base, 'export');
  view = new FakeAgentView();
});
afterEach(async () => {
  for (const exporter of open.splice(0)) await exporter.close();
  rmSync(base, { recursive: true });
});

async function start(
  workingKeys: ExportKeys = 'always',
  { clock = systemClock, log = silentLog }: { clock?: Clock; log?: Log } = {},
): Promise<Exporter> {
  const exporter = await Exporter.start({ directory, view, clock, log, workingKeys });
  open.push(exporter);
  return exporter;
}

const current = (...parts: string[]): string => join(directory, 'current', ...parts);
const generations = (): string[] => readdirSync(directory).filter((name) => name.startsWith('generation-'));

function enrolWithKeys(): Uint8Array {
  view.setIdentity(credential.identity);
  view.setTrust(1, { identity: [credential.root], transport: [credential.root], firmware: [credential.root] });
  view.store('wallet-kek', 4);
  view.activate('wallet-kek', 4);
  return view.store('wallet-kek', 5);
}

describe('given an enrolled device with keys', () => {
  test('then the files are what openssl and programs expect', async () => {
    const five = enrolWithKeys();
    await start();
    expect(
      execFileSync('openssl', [
        'verify',
        '-CAfile',
        current('trust', 'identity.pem'),
        current('identity.crt'),
      ]).toString(),
    ).toMatch(/: OK/);
    const certificate = new X509Certificate(readFileSync(current('identity.crt')));
    expect(certificate.checkPrivateKey(createPrivateKey(readFileSync(current('identity.key'))))).toBe(true);
    expect(readFileSync(current('fullchain.pem'), 'utf8')).toBe(
      readFileSync(current('identity.crt'), 'utf8') + readFileSync(current('chain.pem'), 'utf8'),
    );
    expect(readdirSync(current('trust')).sort()).toEqual(['firmware.pem', 'identity.pem', 'transport.pem']);
    expect(readdirSync(current('keys', 'wallet-kek')).sort()).toEqual(['4.key', '5.key', 'active', 'keyring.json']);
    expect(readFileSync(current('keys', 'wallet-kek', '5.key'))).toEqual(Buffer.from(five));
    expect(readlinkSync(current('keys', 'wallet-kek', 'active'))).toBe('4.key');
    expect(JSON.parse(readFileSync(current('keys', 'wallet-kek', 'keyring.json'), 'utf8'))).toMatchObject({
      keySet: 'wallet-kek',
      active: 4,
    });
    expect(JSON.parse(readFileSync(current('agent.json'), 'utf8'))).toMatchObject({
      device: 'egm-0001',
      trustVersion: 1,
      workingKeys: true,
    });
  });

  test('then files are 0600, directories 0700, and no copy of a key stays in memory', async () => {
    enrolWithKeys();
    await start();
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
      const mode = lstatSync(join(entry.parentPath, entry.name)).mode & 0o777;
      if (entry.isDirectory()) expect(mode).toBe(0o700);
      if (entry.isFile()) expect(mode).toBe(0o600);
    }
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(view.handedOut).toHaveLength(2);
    for (const copy of view.handedOut) expect([...copy].every((octet) => octet === 0)).toBe(true);
  });
});

describe('given a device that is not enrolled', () => {
  test('then there is a generation that says so, and enrolment fills it', async () => {
    const exporter = await start();
    expect(readdirSync(current())).toEqual(['agent.json']);
    enrolWithKeys();
    await exporter.settled();
    expect(existsSync(current('identity.crt'))).toBe(true);
  });
});

describe('when something changes', () => {
  test('then the link moves to a new generation and the one before is gone', async () => {
    enrolWithKeys();
    const exporter = await start();
    const before = readlinkSync(join(directory, 'current'));
    view.activate('wallet-kek', 5);
    view.setIdentity(successor.identity);
    await exporter.settled();
    await exporter.close();
    const after = readlinkSync(join(directory, 'current'));
    expect(after).not.toBe(before);
    expect(generations()).toEqual([after]);
    expect(readlinkSync(current('keys', 'wallet-kek', 'active'))).toBe('5.key');
    const certificate = new X509Certificate(readFileSync(current('identity.crt')));
    expect(certificate.checkPrivateKey(createPrivateKey(readFileSync(current('identity.key'))))).toBe(true);
    expect(certificate.serialNumber.toLowerCase()).toBe(successor.identity.serial);
  });

  test('then a reader that holds the generation open sees certificate and key of one moment, however often it changes', async () => {
    enrolWithKeys();
    const exporter = await start();
    let matched = 0;
    for (let round = 0; round < 20; round += 1) {
      view.setIdentity(round % 2 === 0 ? successor.identity : credential.identity);
      const generation = join(directory, readlinkSync(join(directory, 'current')));
      try {
        const certificate = new X509Certificate(readFileSync(join(generation, 'identity.crt')));
        expect(certificate.checkPrivateKey(createPrivateKey(readFileSync(join(generation, 'identity.key'))))).toBe(
          true,
        );
        matched += 1;
      } catch (error) {
        // The generation may go while it is read: a reader asks again. It never sees halves.
        expect(error).toMatchObject({ code: 'ENOENT' });
      }
      await exporter.settled();
    }
    expect(matched).toBeGreaterThan(0);
  });

  test('then commits that change nothing here cause no export, and nobody waits for one', async () => {
    enrolWithKeys();
    const exporter = await start();
    const before = readlinkSync(join(directory, 'current'));
    view.commitUnseen();
    await exporter.settled();
    expect(readlinkSync(join(directory, 'current'))).toBe(before);
    view.together(() => {
      view.activate('wallet-kek', 5);
      view.setTrust(2, { identity: [credential.root] });
    });
    await exporter.settled();
    expect(readlinkSync(join(directory, 'current'))).toMatch(new RegExp(`^generation-${view.generation()}-`));
  });

  test('when a key is destroyed, then its bytes are overwritten before the file goes', async () => {
    const five = enrolWithKeys();
    const exporter = await start();
    const handle = openSync(current('keys', 'wallet-kek', '5.key'), 'r');
    const content = Buffer.alloc(32);
    readSync(handle, content, 0, 32, 0);
    expect(content).toEqual(Buffer.from(five));
    view.destroy('wallet-kek', 5);
    await exporter.settled();
    await exporter.close();
    readSync(handle, content, 0, 32, 0);
    closeSync(handle);
    expect(content).toEqual(Buffer.alloc(32));
    expect(readdirSync(current('keys', 'wallet-kek')).sort()).toEqual(['4.key', 'active', 'keyring.json']);
  });

  test('when a key is retired, then it is not exported any more and the others stay', async () => {
    enrolWithKeys();
    const exporter = await start();
    view.activate('wallet-kek', 5);
    view.retire('wallet-kek', 4);
    await exporter.settled();
    expect(readdirSync(current('keys', 'wallet-kek')).sort()).toEqual(['5.key', 'active', 'keyring.json']);
  });
});

describe('given what a crash left', () => {
  test('then half-written generations and links are cleared, and other files are not touched', async () => {
    mkdirSync(join(directory, 'generation-3-0badcafe'), { recursive: true, mode: 0o700 });
    chmodSync(directory, 0o700);
    writeFileSync(join(directory, 'generation-3-0badcafe', '1.key'), 'half');
    writeFileSync(join(directory, 'current.new'), '');
    writeFileSync(join(directory, 'notes.txt'), 'precious');
    await start();
    expect(generations()).toEqual([readlinkSync(join(directory, 'current'))]);
    expect(existsSync(join(directory, 'current.new'))).toBe(false);
    expect(readFileSync(join(directory, 'notes.txt'), 'utf8')).toBe('precious');
  });
});

describe('given a directory that cannot be used', () => {
  test('when it is open to others it is refused, closed it is taken', async () => {
    mkdirSync(directory);
    chmodSync(directory, 0o750);
    await expect(start()).rejects.toThrow(/open to others .*chmod 700/);
    chmodSync(directory, 0o700);
    await start();
  });

  test('when `current` is something else, then it is refused and left alone', async () => {
    mkdirSync(join(directory, 'current'), { recursive: true });
    chmodSync(directory, 0o700);
    await expect(start()).rejects.toEqual(expect.objectContaining({ code: 'config.invalid' }));
    accessSync(join(directory, 'current'));
    expect(view.listenerCount).toBe(0);
  });

  test('when a trust purpose is no file name, then nothing is written outside and the export is refused', async () => {
    view.setTrust(1, { '../../escaped': [credential.root] });
    await expect(start()).rejects.toThrow(/trust purpose is no name/);
    expect(readdirSync(base)).toEqual(['export']);
    expect(view.listenerCount).toBe(0);
    view.setTrust(2, { escaped: [credential.root] });
    await start();
    expect(readdirSync(current('trust'))).toEqual(['escaped.pem']);
  });
});

describe('when an export fails later', () => {
  test('then the files before stay, the failure is logged, and it is tried again', async () => {
    enrolWithKeys();
    const clock = new ManualClock(new Date());
    const errors: string[] = [];
    const exporter = await start('always', {
      clock,
      log: { ...silentLog, error: (_, message) => errors.push(message) },
    });
    const before = readlinkSync(join(directory, 'current'));
    view.setTrust(2, { 'not a name': [credential.root] });
    await expect.poll(() => errors).toEqual(['export failed; the files before stay']);
    expect(readlinkSync(join(directory, 'current'))).toBe(before);
    expect(generations()).toEqual([before]);
    const settled = exporter.settled();
    view.setTrust(3, { name: [credential.root] });
    await settled;
    expect(readdirSync(current('trust'))).toEqual(['name.pem']);
  });

  test('then a retry needs no further change', async () => {
    enrolWithKeys();
    const clock = new ManualClock(new Date());
    const errors: string[] = [];
    const exporter = await start('always', {
      clock,
      log: { ...silentLog, error: (_, message) => errors.push(message) },
    });
    // A directory in the place of the link that is to be renamed cannot be removed as a file.
    mkdirSync(join(directory, 'current.new', 'x'), { recursive: true });
    view.setTrust(2, { name: [credential.root] });
    await expect.poll(() => errors.length).toBe(1);
    rmSync(join(directory, 'current.new'), { recursive: true });
    const settled = exporter.settled();
    clock.advance(1_000);
    await settled;
    expect(readdirSync(current('trust'))).toEqual(['name.pem']);
  });

  test('then whoever waits for the files is released when the exporter closes', async () => {
    const exporter = await start('always', { clock: new ManualClock(new Date()) });
    view.setTrust(2, { 'not a name': [credential.root] });
    const settled = exporter.settled();
    await exporter.close();
    await settled;
    await exporter.settled();
  });
});

describe('working keys', () => {
  const TMPFS = 0x01021994;
  const isMemory = (path: string): boolean => existsSync(path) && statfsSync(path).type === TMPFS;

  test.skipIf(isMemory(tmpdir()))(
    'when the directory is on a disk, then they are left out with a warning, and the rest is exported',
    async () => {
      enrolWithKeys();
      const warnings: string[] = [];
      await start('memory', { log: { ...silentLog, warn: (_, message) => warnings.push(message) } });
      expect(existsSync(current('keys'))).toBe(false);
      expect(existsSync(current('identity.key'))).toBe(true);
      expect(warnings).toEqual([expect.stringMatching(/not exported: the directory is on a disk/)]);
      expect(JSON.parse(readFileSync(current('agent.json'), 'utf8'))).toMatchObject({ workingKeys: false });
      expect(view.handedOut).toEqual([]);
    },
  );

  test.runIf(isMemory('/dev/shm'))('when the directory is in memory, then they are exported', async () => {
    enrolWithKeys();
    const inMemory = mkdtempSync('/dev/shm/croupier-export-');
    try {
      const exporter = await Exporter.start({ directory: inMemory, view, clock: systemClock, log: silentLog });
      expect(existsSync(join(inMemory, 'current', 'keys', 'wallet-kek', '5.key'))).toBe(true);
      await exporter.close();
    } finally {
      rmSync(inMemory, { recursive: true });
    }
  });

  test('when they are never to be exported, then they are not', async () => {
    enrolWithKeys();
    await start('never');
    expect(existsSync(current('keys'))).toBe(false);
  });
});
