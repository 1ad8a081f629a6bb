// The page: it connects to the visitor's panel on the server, shows it, and says so when the connection is lost.

const { kernelId } = JSON.parse(document.getElementById("jupyter-config-data").textContent);
const banner = document.getElementById("banner");
let leaving = false;
let trying = false;

function say(text) {
  banner.textContent = text;
  banner.hidden = !text;
}

async function main() {
  define("vue", [], () => Vue);
  define("vuetify", [], () => Vuetify);
  requirejs.config({ baseUrl: "/", waitSeconds: 3000, paths: { anywidget: "nbextensions/anywidget/index" } });
  const kernel = await solara.connectKernel("/", kernelId);
  const never = { connect() {} };
  const context = {
    sessionContext: {
      session: { kernel, kernelChanged: never },
      statusChanged: never,
      kernelChanged: never,
      connectionStatusChanged: never,
    },
    saveState: never,
  };
  const rendermime = new solara.RenderMimeRegistry({ initialFactories: solara.extendedRendererFactories });
  const manager = new solara.WidgetManager(context, rendermime, { saveState: false });

  // The panel lives on the server, so one that was there before is the same after a reload, or in a second tab.
  const late = new Promise((_, reject) => setTimeout(reject, 60_000));
  const panel = await Promise.race([findPanel(kernel), late]);
  await manager.fetchAll();
  const view = await manager.create_view(await manager.get_model(panel));
  requirejs(["@jupyter-widgets/base"], (base) =>
    base.JupyterPhosphorWidget.attach(view.pWidget, document.getElementById("panel")));
  document.getElementById("loading").remove();
  await manager.fetchAll(); // what happened while it loaded

  kernel.connectionStatusChanged.connect(async (_, status) => {
    if (leaving) return;
    if (status !== "connected") return comeBack(kernel);
    say("");
    if ((await findPanel(kernel)) === panel) manager.fetchAll(); // what happened meanwhile
    else location.reload();
  });
  window.addEventListener("pagehide", () => {
    leaving = true;
    kernel.dispose(); // the server sees at once that the visitor has gone
  });
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
}

async function findPanel(kernel) {
  const { content } = await kernel.requestCommInfo({ target_name: "jupyter.widget" });
  return Object.keys(content.comms ?? {}).find((id) => id.startsWith("studio-"));
}

// Connect again, for as long as the panel is there.
async function comeBack(kernel) {
  if (trying) return;
  trying = true;
  while (kernel.connectionStatus !== "connected" && !leaving) {
    const { status } = await fetch("/here").catch(() => ({}));
    if (status === 410) {
      say("This page was closed because it was not used for a while. You can still download what you see; reload the page to continue.");
      break;
    }
    say("Reconnecting…");
    if (status) kernel.reconnect().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  trying = false;
}

main().catch((error) => {
  console.error(error);
  document.getElementById("loading")?.remove();
  say("The page could not be shown. If it is open in other tabs, close one; then reload it.");
});
