// The letter was asked for on paper: opens the browser's print dialog once the page stands.

if (document.readyState === "complete") window.print();
else window.addEventListener("load", () => window.print(), { once: true });
