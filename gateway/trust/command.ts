/** `trust publish`: the next trust bundle, with the operator's own purposes changed where asked. */
import { parseCertificate } from '#pki/certificate/parse.ts';
import { asCroupierError } from '#schema/errors.ts';
import type { Command } from '#gateway/operators/command.ts';
import { planned } from '#gateway/rollout/planning.ts';
import { nextTrustChange, publishNextBundle, type NextBundlePorts } from './publish.ts';

/** Errors: `certificate.malformed`, naming the purpose. */
function certificatesOnly(anchors: Readonly<Record<string, readonly string[]>>): typeof anchors {
  for (const [purpose, list] of Object.entries(anchors)) {
    for (const der of list) {
      try {
        parseCertificate(Buffer.from(der, 'base64'));
      } catch (error) {
        throw asCroupierError(error, 'certificate.malformed', `an anchor for ${purpose} is not a certificate`);
      }
    }
  }
  return anchors;
}

export function trustPublishCommand(ports: NextBundlePorts): Command<'trust.publish'> {
  return {
    complete: async (request) => {
      const change = await nextTrustChange(ports, certificatesOnly(request.anchors));
      const { plan, planSha256 } = planned(ports, change, request);
      return { ...request, plan: plan.name, planSha256 };
    },
    summary: ({ anchors, reason }) =>
      `publish the next trust bundle${Object.keys(anchors).length > 0 ? ` with other anchors for ${Object.keys(anchors).join(', ')}` : ''}${reason === undefined ? '' : `: ${reason}`}`,
    execute: async ({ anchors, ...terms }, { actor, approval }) => {
      const bundle = await publishNextBundle(ports, { actor, approval }, anchors, terms);
      return { version: bundle.version, sha256: bundle.sha256, expiresAt: bundle.body.expiresAt };
    },
  };
}
