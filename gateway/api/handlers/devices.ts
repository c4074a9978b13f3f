/** Devices, tickets and parked requests. */
import { CroupierError } from '#schema/errors.ts';
import { deviceDetailView, deviceSummaryView, enrolmentView } from '../views/devices.ts';
import { historyStepView } from '../views/rollouts.ts';
import { pageFrom } from './page.ts';
import type { DocumentHandlers, HandlerPorts } from './types.ts';

type DeviceRoutes =
  | 'device.list'
  | 'device.show'
  | 'device.history'
  | 'device.import'
  | 'device.ticket'
  | 'device.quarantine'
  | 'device.revoke'
  | 'device.release'
  | 'device.re-baseline'
  | 'enrolment.list'
  | 'enrolment.approve'
  | 'enrolment.refuse'
  | 'enrolment.campaign';

export function deviceHandlers({ store, submit, ticketInfo }: HandlerPorts): Pick<DocumentHandlers, DeviceRoutes> {
  return {
    'device.list': async ({ query }) => {
      const { limit, ...filter } = query;
      const found = await store.devices({ ...filter, limit: limit + 1 });
      return pageFrom(found.map(deviceSummaryView), limit, ({ id }) => id);
    },
    'device.show': async ({ params: { id } }) => {
      const found = await store.device(id);
      if (found === undefined) throw new CroupierError('device.not-found', `there is no device ${id}`);
      return deviceDetailView(found);
    },
    'device.history': async ({ params: { id }, query: { after, limit } }) => {
      const found = await store.history({ device: id }, after, limit + 1);
      if (found.length === 0 && (await store.deviceRecord(id)) === undefined)
        throw new CroupierError('device.not-found', `there is no device ${id}`);
      return pageFrom(found.map(historyStepView), limit, ({ id: step }) => step);
    },
    'device.import': ({ body }, operator) => submit(operator, 'device.import', body),
    'device.ticket': async ({ body }, operator) => ({
      answer: await submit(operator, 'device.ticket', body),
      info: ticketInfo(),
    }),
    'device.quarantine': ({ params, body }, operator) =>
      submit(operator, 'device.quarantine', { device: params.id, ...body }),
    'device.revoke': ({ params, body }, operator) => submit(operator, 'device.revoke', { device: params.id, ...body }),
    'device.release': ({ params, body }, operator) =>
      submit(operator, 'device.release', { device: params.id, ...body }),
    'device.re-baseline': ({ params, body }, operator) =>
      submit(operator, 'device.re-baseline', { device: params.id, ...body }),
    'enrolment.list': async ({ query: { state, limit } }) => ({
      items: (await store.enrolmentRequests(state, limit)).map(enrolmentView),
    }),
    'enrolment.approve': ({ params, body }, operator) =>
      submit(operator, 'enrolment.approve', { enrolment: params.id, ...body }),
    'enrolment.refuse': ({ params, body }, operator) =>
      submit(operator, 'enrolment.refuse', { enrolment: params.id, ...body }),
    'enrolment.campaign': ({ body }, operator) => submit(operator, 'enrolment.campaign', body),
  };
}
