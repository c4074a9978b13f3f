/** How many devices of which class stand on a floor. */
import { CroupierError } from '#schema/errors.ts';

export const FLOOR_CLASSES = ['egm', 'kiosk', 'pos', 'service'] as const;
export type FloorClass = (typeof FLOOR_CLASSES)[number];
export type Composition = Readonly<Record<FloorClass, number>>;

export const SMALLEST_FLOOR = 4;
/** More agents than this belong into several processes. */
export const LARGEST_FLOOR = 5_000;
const FEWEST_SERVICES = 2;

/** 75 % egm, 15 % kiosk, 9 % pos, 1 % service but at least two. Errors: `input.invalid`. */
export function compositionOf(devices: number): Composition {
  if (!Number.isInteger(devices) || devices < SMALLEST_FLOOR || devices > LARGEST_FLOOR) {
    throw new CroupierError(
      'input.invalid',
      `a floor has ${SMALLEST_FLOOR} to ${LARGEST_FLOOR} devices, not ${devices}`,
    );
  }
  const service = Math.max(FEWEST_SERVICES, Math.floor(devices / 100));
  const kiosk = Math.floor((devices * 15) / 100);
  const pos = Math.floor((devices * 9) / 100);
  return { egm: devices - kiosk - pos - service, kiosk, pos, service };
}
