// What nodes with a panel of their own share: addresses of pictures, and the widget that keeps the panel's value.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

/** Where the host serves a picture that a node has written. */
export function address(entry) {
  const { filename = "", subfolder = "", type = "temp" } = entry ?? {};
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** A node's widget by name, out of sight: a panel shows its value instead. Undefined where there is none. */
export function hiddenWidget(node, name) {
  const widget = node.widgets?.find((one) => one.name === name);
  if (widget) {
    widget.hidden = true;
    (widget.options ??= {}).hidden = true; // in place: newer pages keep this object, not the widget
    widget.computeSize = () => [0, -4]; // and takes no room: -4 is the gap the page puts between widgets
  }
  return widget;
}

/** Set a widget as a hand would. The page keeps a draft of the workflow, and takes it now: a page that dies loses nothing. */
export function setWidget(widget, value) {
  if (!widget) return;
  widget.value = value;
  widget.callback?.(widget.value);
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  if (tracker?.captureCanvasState) tracker.captureCanvasState();
  else tracker?.checkState?.(); // its name in pages before 1.40
}
