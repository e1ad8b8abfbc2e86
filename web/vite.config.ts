import { defineConfig } from "vite";

// `npm run dev` serves the page with a daemon behind it: SANDBOXCTL_URL, or the one on this machine.
const daemon = process.env["SANDBOXCTL_URL"] ?? "http://127.0.0.1:7070";

export default defineConfig({
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: { "/api": { target: daemon, ws: true } } },
});
