/** Years of ceremonies in days, and the validity that limits nothing. */

export const FAR_PAST_AND_FUTURE = { notBefore: new Date(0), notAfter: new Date('9999-12-31T23:59:59Z') } as const;

/** Days in whole years, leap days included; never more than the calendar would give. */
export function daysOfYears(years: number): number {
  return Math.floor(years * 365.25);
}
