/** `text` with every line end of Windows (CR LF) and of old Macs (CR) as LF, which is what models were taught. */
export const unixLines = (text: string): string => text.replace(/\r\n?/g, '\n');
