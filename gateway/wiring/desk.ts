/** The commands of operators, each with what it has to wake. */
import { errorMessage } from '#schema/errors.ts';
import { alertEvent } from '../api/views/alerts.ts';
import { acknowledgeCommand } from '../audit/alerts-command.ts';
import * as devices from '../enrolment/commands.ts';
import type { RevocationList } from '../enrolment/revocation-list.ts';
import { destroyCommand, retireCommand, rotateCommand } from '../keys/commands.ts';
import { createCommandDesk, type CommandDesk } from '../operators/command.ts';
import { operatorAddCommand } from '../operators/operator-command.ts';
import { policyApplyCommand } from '../operators/policy-command.ts';
import { trustPublishCommand } from '../trust/command.ts';
import { announceTrust } from '../trust/publish.ts';
import type { Floor } from './floor.ts';
import type { Foundation } from './foundation.ts';

export function openDesk(foundation: Foundation, floor: Floor, revocations: RevocationList): CommandDesk {
  const { config, store, keyStore, authorities, policy, feed, clock, random, log } = foundation;
  const { realm } = config;
  const { broker, dispatcher, rollouts } = floor;
  const soon = (what: string, work: Promise<void>): void => {
    work.catch((error: unknown) => log.warn({}, `${what}: ${errorMessage(error)}`));
  };
  const onChange = (): void => {
    dispatcher.ring();
    rollouts.ring();
  };
  const devicePorts: devices.DeviceCommandPorts = {
    store,
    clock,
    random,
    policy: policy.get,
    onContained: (device, change) => {
      feed.publish({ type: 'device', device, change });
      soon('disconnect', broker.disconnect(device));
      revocations.changed();
      rollouts.ring();
    },
    onRestored: (device) => {
      feed.publish({ type: 'device', device, change: 'released' });
      onChange();
    },
  };
  const keyPorts = { realm, store, keyStore, clock, random, onChange };
  return createCommandDesk({
    store,
    clock,
    log,
    commands: {
      'policy.apply': policyApplyCommand({
        realm,
        store,
        keyStore,
        clock,
        onApplied: (applied) => {
          policy.set(applied.policy);
          feed.publish({ type: 'policy', version: applied.version });
          onChange();
        },
      }),
      'operator.add': operatorAddCommand(store, clock),
      'device.import': devices.importCommand(devicePorts),
      'device.ticket': devices.ticketCommand(devicePorts),
      'device.quarantine': devices.quarantineCommand(devicePorts),
      'device.revoke': devices.revokeCommand(devicePorts),
      'device.release': devices.releaseCommand(devicePorts),
      'enrolment.approve': devices.approveEnrolmentCommand(devicePorts),
      'enrolment.refuse': devices.refuseEnrolmentCommand(devicePorts),
      'alert.acknowledge': acknowledgeCommand({
        store,
        clock,
        onAcknowledged: (alert) => feed.publish(alertEvent(alert, 'acknowledged')),
      }),
      'keyset.rotate': rotateCommand(keyPorts),
      'keyset.retire': retireCommand(keyPorts),
      'keyset.destroy': destroyCommand(keyPorts),
      'trust.publish': trustPublishCommand({
        realm,
        store,
        clock,
        policy: policy.get,
        authorities: () => authorities,
        onPublished: (bundle) => {
          feed.publish({ type: 'trust', version: bundle.version });
          soon('trust bundle not announced', announceTrust(broker, realm, bundle));
          onChange();
        },
      }),
    },
  });
}
