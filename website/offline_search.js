// Search where the site is opened as files: browsers refuse workers of file: pages, so the search's worker runs in a frame.
// It replaces the script that the theme would fetch from a network.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame); // about:blank has the origin of this page
      this.inner = frame.contentWindow;
      this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = frame.contentDocument.createElement("script");
      this.ready = new Promise((done, failed) => {
        script.onload = done;
        script.onerror = () => failed(new Error(`${url} cannot be read`));
      });
      script.src = new URL(url, location).href;
      frame.contentDocument.body.append(script);
    }

    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
