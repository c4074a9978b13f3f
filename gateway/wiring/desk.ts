/** The commands of operators, each with what it has to wake. */
import { errorMessage } from '#schema/errors.ts';
import { alertEvent } from '../api/views/alerts.ts';
import { rolloutChanged } from '../api/views/rollouts.ts';
import { acknowledgeCommand } from '../audit/alerts-command.ts';
import * as devices from '../enrolment/commands.ts';
import type { RevocationList } from '../enrolment/revocation-list.ts';
import { compromiseCommand, destroyCommand, retireCommand, rotateCommand } from '../keys/commands.ts';
import { createRotationKeeper } from '../keys/rotation-keeper.ts';
import { createCommandDesk, type CommandDesk } from '../operators/command.ts';
import { operatorAddCommand } from '../operators/operator-command.ts';
import { policyApplyCommand } from '../operators/policy-command.ts';
import * as rollout from '../rollout/commands.ts';
import { authorityCommands } from '../trust/authority-commands.ts';
import { trustPublishCommand } from '../trust/command.ts';
import { trustImportCommand } from '../trust/import.ts';
import type { Floor } from './floor.ts';
import type { Foundation } from './foundation.ts';
import { nextBundlePorts, trustImportPorts } from './trust.ts';

export function openDesk(foundation: Foundation, floor: Floor, revocations: RevocationList): CommandDesk {
  const { config, store, keyStore, authorities, policy, feed, clock, random, log, closing } = foundation;
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
  const rolloutPorts: rollout.CampaignCommandPorts = {
    store,
    clock,
    random,
    policy: policy.get,
    onChange,
    onMoved: (moved) => feed.publish(rolloutChanged(moved)),
  };
  const keyPorts = { ...rolloutPorts, realm, keyStore };
  const cryptoperiods = createRotationKeeper({ ...keyPorts, log });
  closing.add(() => cryptoperiods.stop());
  cryptoperiods.ring();
  const bundlePorts = nextBundlePorts(foundation, floor);
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
          cryptoperiods.ring();
          onChange();
        },
      }),
      'operator.add': operatorAddCommand(store, clock),
      'device.import': devices.importCommand(devicePorts),
      'device.ticket': devices.ticketCommand(devicePorts),
      'device.quarantine': devices.quarantineCommand(devicePorts),
      'device.revoke': devices.revokeCommand(devicePorts),
      'device.release': devices.releaseCommand(devicePorts),
      'device.re-baseline': devices.reBaselineCommand(devicePorts),
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
      'keyset.compromise': compromiseCommand(keyPorts),
      'enrolment.campaign': rollout.campaignCommand(rolloutPorts),
      'rollout.pause': rollout.pauseCommand(rolloutPorts),
      'rollout.resume': rollout.resumeCommand(rolloutPorts),
      'rollout.abort': rollout.abortCommand(rolloutPorts),
      'rollout.retry': rollout.retryCommand(rolloutPorts),
      'rollout.exempt': rollout.exemptCommand(rolloutPorts),
      'rollout.sign-off': rollout.signOffCommand(rolloutPorts),
      'trust.publish': trustPublishCommand(bundlePorts),
      'trust.import': trustImportCommand(trustImportPorts(foundation, floor)),
      ...authorityCommands({ ...bundlePorts, operator: config.operator, keyStore, authorities }),
    },
  });
}
