/** Who stands on the floor of a benchmark, and who of them is looked at closely. Pure. */
import type { Composition } from '../../floor/composition.ts';

const KIOSKS = 0.15;
const POS = 0.09;
const SERVICES = 0.01;
const FEWEST_SERVICES = 2;

/** The shares of an ordinary floor, of any size. */
export function compositionFor(devices: number): Composition {
  const service = Math.max(FEWEST_SERVICES, Math.floor(devices * SERVICES));
  const kiosk = Math.floor(devices * KIOSKS);
  const pos = Math.floor(devices * POS);
  return { egm: devices - kiosk - pos - service, kiosk, pos, service };
}

/** At most so many of them, evenly spread. */
export function everyNth<Item>(items: readonly Item[], most: number): readonly Item[] {
  const step = Math.max(1, Math.ceil(items.length / most));
  return items.filter((_, index) => index % step === 0);
}
