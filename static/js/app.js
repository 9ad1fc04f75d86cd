// What the pages can do beyond links and forms. Each module looks for its data-* hooks and does nothing without them.
import "./preferences.js";
import "./keyboard.js";
import "./copy.js";
import "./dialogs.js";
import "./tables.js";
import "./toasts.js";
import "./ids.js";
import "./focus.js";
import "./requests.js";
import "./times.js";
