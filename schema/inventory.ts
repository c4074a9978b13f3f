/** One row of the inventory as an asset register exports it. */
import { z } from 'zod';
import { DeviceClass, DeviceId, SiteName } from './ids.ts';

export const InventoryRow = z.strictObject({
  id: DeviceId,
  class: DeviceClass,
  site: SiteName,
  serial: z.string().min(1).max(64),
  labels: z.record(z.string().regex(/^[a-z][a-z0-9-]{0,31}$/), z.string().max(128)),
});
export type InventoryRow = z.infer<typeof InventoryRow>;
