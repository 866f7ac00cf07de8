// The one error type of the library. Owns the codes that arise in the browser; codes that the server names
// (`ErrorCode` of the protocol) pass through unchanged. Everyone here throws it, nobody throws anything else on purpose.

/** An error with a machine-readable `code`; the message is fit to be shown to a person. */
export class WeirError extends Error {
  /**
   * @param {import("../weir.js").ErrorCode} code
   * @param {string} message
   * @param {unknown} [cause]
   */
  constructor(code, message, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "WeirError";
    this.code = code;
  }
}

/** @type {Record<string, [import("../weir.js").ErrorCode, string]>} */
const CAPTURE_FAULTS = {
  NotAllowedError: ["permission_denied", "The browser was not allowed to use it. Allow access in the address bar and try again."],
  SecurityError: ["permission_denied", "This page may not use it. Cameras and microphones need HTTPS or localhost."],
  NotFoundError: ["device_not_found", "No such device is connected."],
  OverconstrainedError: ["device_not_found", "The chosen device is not connected any more."],
  NotReadableError: ["device_in_use", "Another program is using the device."],
  AbortError: ["device_in_use", "The device stopped while it was being opened."],
};

/**
 * Turns what `getUserMedia` and `getDisplayMedia` throw into a {@link WeirError}.
 * @param {unknown} fault
 */
export function captureError(fault) {
  if (fault instanceof WeirError) return fault;
  const name = fault instanceof Error || fault instanceof DOMException ? fault.name : "";
  const [code, message] = CAPTURE_FAULTS[name] ?? ["capture_failed", "The device could not be opened."];
  return new WeirError(code, message, fault);
}
