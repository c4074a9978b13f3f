/** `trust publish`: the next trust bundle, with the operator's own purposes changed where asked. */
import { parseCertificate } from '#pki/certificate/parse.ts';
import { asCroupierError } from '#schema/errors.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { Command } from '#gateway/operators/command.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
import { realmAnchors, type Authorities } from './authorities.ts';
import type { TrustAnchors } from './bundle.ts';
import { publishTrustBundle, type PublishPorts } from './publish.ts';

const REALM_PURPOSES: readonly string[] = ['identity', 'transport', 'messages'];

/** The operator's purposes of the bundle before, with those of the request put over them. */
export function mergeAnchors(
  before: TrustBundle | undefined,
  changes: Readonly<Record<string, readonly string[]>>,
): TrustAnchors['others'] {
  const kept = Object.entries(before?.anchors ?? {}).filter(([purpose]) => !REALM_PURPOSES.includes(purpose));
  const merged = new Map<string, readonly string[]>([...kept, ...Object.entries(changes)]);
  return Object.fromEntries(
    [...merged]
      .filter(([, list]) => list.length > 0)
      .map(([purpose, list]) => [purpose, list.map((der) => Buffer.from(der, 'base64'))]),
  );
}

export interface TrustCommandPorts extends PublishPorts {
  readonly authorities: () => Authorities;
  readonly onPublished: (bundle: TrustBundleRecord) => void;
}

export function trustPublishCommand(ports: TrustCommandPorts): Command<'trust.publish'> {
  return {
    summary: ({ anchors, reason }) =>
      `publish the next trust bundle${Object.keys(anchors).length > 0 ? ` with other anchors for ${Object.keys(anchors).join(', ')}` : ''}${reason === undefined ? '' : `: ${reason}`}`,
    check: async ({ anchors }) => {
      for (const [purpose, list] of Object.entries(anchors)) {
        for (const der of list) {
          try {
            parseCertificate(Buffer.from(der, 'base64'));
          } catch (error) {
            throw asCroupierError(error, 'certificate.malformed', `an anchor for ${purpose} is not a certificate`);
          }
        }
      }
    },
    execute: async ({ anchors }, authority) => {
      const authorities = ports.authorities();
      const before = await ports.store.latestTrustBundle();
      const bundle = await publishTrustBundle(ports, {
        anchors: realmAnchors(authorities, mergeAnchors(before?.body, anchors)),
        current: authorities.messageSigner,
        standby: authorities.standbySigner,
        actor: authority.actor,
        approval: authority.approval,
      });
      ports.onPublished(bundle);
      return { version: bundle.version, sha256: bundle.sha256, expiresAt: bundle.body.expiresAt };
    },
  };
}
