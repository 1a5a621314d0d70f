/** The highest resident memory of this process so far, bytes. */
export const peakMemory = (): number => process.resourceUsage().maxRSS * 1024;
