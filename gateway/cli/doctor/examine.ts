/** Everything the doctor looks at, in the order in which one thing needs another. */
import type { Config } from '#schema/config.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { loadConfig } from '#gateway/installation/config-file.ts';
import { dataDirectory, type DataDirectory } from '#gateway/installation/data-directory.ts';
import type { AuthorityRecord } from '#gateway/ports/store/records.ts';
import { auditRoot } from '#gateway/trust/lineage.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { checkAuthorities, checkTlsCertificate, checkTrust } from './certificates.ts';
import { attempt, fail, failure, ok, skipped, type Finding } from './check.ts';
import { checkAudit, checkDatabase, checkGovernance } from './database.ts';
import { checkHsm } from './hsm.ts';
import { checkListeners } from './listeners.ts';
import { checkClock, checkDataDirectory, checkDisk, checkRootToken, checkRuntime } from './machine.ts';
import { checkWebhooks } from './webhooks.ts';

/** Looks at an installation, whether its gateway runs or not; changes nothing in it. */
export async function examine(directory: string, clock: Clock): Promise<readonly Finding[]> {
  const data = dataDirectory(directory);
  const findings: Finding[] = [
    ...checkRuntime(process.versions.node),
    ...(await attempt('data directory', () => checkDataDirectory(data))),
  ];
  if (findings.some(({ code }) => code === 'config.missing')) return findings;
  findings.push(...(await attempt('disk space', () => checkDisk(data))), ...(await checkRootToken(data)));
  let config: Config;
  try {
    config = await loadConfig(data);
    findings.push(ok('configuration', `${data.config}, realm ${config.realm}`));
  } catch (error) {
    return [...findings, failure('configuration', error), skipped('everything else', 'needs the configuration')];
  }
  findings.push(...(await attempt('gateway', () => checkListeners(data, config))));
  findings.push(...(await checkWebhooks(config, clock)));
  const database = await checkDatabase(config);
  findings.push(...database);
  const readable = database.every(({ state }) => state === 'ok');
  const authorities = readable ? await examineStore(data, config, clock, findings) : undefined;
  if (!readable) findings.push(skipped('audit trail', 'needs the database'));
  findings.push(...(await attempt('HSM', () => checkHsm(data, config, authorities))));
  findings.push(...(await attempt('certificate TLS', () => checkTlsCertificate(data, clock.now()))));
  return findings;
}

/** What the store tells; resolves to the authorities whose keys the HSM must hold. */
async function examineStore(
  data: DataDirectory,
  config: Config,
  clock: Clock,
  findings: Finding[],
): Promise<readonly AuthorityRecord[] | undefined> {
  let store: Store;
  try {
    store = await openSqliteStore({
      path: config.store.path,
      realm: config.realm,
      clock,
      busyTimeoutMs: config.store.busyTimeout,
    });
  } catch (error) {
    findings.push(failure('database', error));
    return undefined;
  }
  try {
    const authorities = await store.authorities();
    const root = auditRoot(authorities)?.certificate;
    if (root === undefined) {
      findings.push(
        fail(
          'authorities',
          'config.missing',
          `the database of ${data.root} names no root: the realm was never finished`,
          'Run croupier init on an empty directory.',
        ),
      );
      return authorities;
    }
    findings.push(...(await attempt('audit trail', () => checkAudit(store, config, clock, root))));
    const [last] = await store.auditRecords((await store.auditHead()).seq - 1, 1).catch(() => []);
    findings.push(...checkClock(clock.now(), last === undefined ? undefined : new Date(last.time)));
    findings.push(...(await attempt('operators', () => checkGovernance(store))));
    findings.push(...checkAuthorities(authorities, clock.now()));
    findings.push(...(await attempt('trust bundle', () => checkTrust(store, clock.now()))));
    return authorities;
  } finally {
    await store.close();
  }
}
