// The client library of weir: everything a web page needs to be in a room. Plain ES modules without dependencies; types and
// documentation are in `weir.d.ts`. The app in `app/` uses nothing else.

export { Room } from "./lib/room.js";
export { Viewer } from "./lib/viewer.js";
export { WeirError } from "./lib/errors.js";
export { captureCamera, captureMicrophone, captureScreen } from "./lib/capture.js";
