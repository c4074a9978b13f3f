/** `trust publish`: the next trust bundle, with the operator's own purposes changed where asked. */
import { parseCertificate } from '#pki/certificate/parse.ts';
import { asCroupierError } from '#schema/errors.ts';
import type { Command } from '#gateway/operators/command.ts';
import { publishNextBundle, type NextBundlePorts } from './publish.ts';

export function trustPublishCommand(ports: NextBundlePorts): Command<'trust.publish'> {
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
    execute: async ({ anchors }, { actor, approval }) => {
      const bundle = await publishNextBundle(ports, { actor, approval }, anchors);
      return { version: bundle.version, sha256: bundle.sha256, expiresAt: bundle.body.expiresAt };
    },
  };
}
