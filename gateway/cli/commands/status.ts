/** `croupier status`: the running gateway about itself. */
import { ALERT_SEVERITIES } from '#schema/audit.ts';
import type { StatusView } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, type Cell } from '../output/table.ts';
import type { Paint } from '../output/text.ts';
import { SEVERITY_STYLES } from './alert.ts';
import type { Register } from './registration.ts';

export const registerStatus: Register = (program, run) => {
  program
    .command('status')
    .description('how the running gateway is')
    .action(
      run(async (context: Context): Promise<Outcome> => {
        const api = await context.connect('fleet.view');
        const document = await api.call('status.show', {});
        return { document, text: describe(document, context.paint) };
      }),
    );
};

/** Coloured like the worst of them. */
function alertsOf({ openAlerts }: StatusView): Cell {
  const open = ALERT_SEVERITIES.filter((severity) => openAlerts[severity] > 0);
  const [worst] = open;
  if (worst === undefined) return 0;
  return {
    text: open.map((severity) => `${openAlerts[severity]} ${severity}`).join(', '),
    style: SEVERITY_STYLES[worst],
  };
}

function describe(status: StatusView, paint: Paint): string {
  const { ports, devices, hsm, audit } = status;
  const states = Object.entries(devices.byState).map(([state, count]) => `${count} ${state}`);
  const health: Cell =
    hsm.state === 'ready'
      ? { text: `ready, ${hsm.operations} operations`, style: 'green' }
      : { text: `away since ${hsm.since}: ${hsm.reason}`, style: 'red' };
  return facts(
    [
      ['realm', status.realm],
      ['version', status.version],
      ['started', status.startedAt],
      ['ports', `EST ${ports.est}, MQTT ${ports.mqtt}, API ${ports.api}, public ${ports.public}`],
      ['HSM', health],
      [
        'devices',
        `${devices.total}, ${devices.connected} connected${states.length === 0 ? '' : `: ${states.join(', ')}`}`,
      ],
      [
        'policy',
        status.policy === null ? undefined : `version ${status.policy.version}, ${status.policy.sha256.slice(0, 16)}`,
      ],
      [
        'trust bundle',
        status.trust === null ? undefined : `version ${status.trust.version}, expires ${status.trust.expiresAt}`,
      ],
      ['CRL', status.crl === null ? undefined : `number ${status.crl.number}, next ${status.crl.nextUpdate}`],
      [
        'audit',
        `${audit.seq} records, ${audit.checkpoint === null ? 'no checkpoint yet' : `signed up to ${audit.checkpoint.seq}`}`,
      ],
      ['open alerts', alertsOf(status)],
      ['open rollouts', status.openRollouts],
      ['approvals waiting', status.pendingApprovals],
      ['enrolments waiting', status.pendingEnrolments],
    ],
    paint,
  );
}
