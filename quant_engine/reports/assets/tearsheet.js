/* Draws the figures of the page, and redraws them when the theme or the width changes.

   A figure is stored once, in the colours of the light palette and without a template. A theme is
   a template and, for the dark one, a table from light colour to dark colour. */
(function () {
  "use strict";

  var root = document.documentElement;
  var themes = JSON.parse(document.getElementById("tearsheet-themes").textContent);
  var narrow = window.matchMedia("(max-width: 640px)");
  var systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  var settings = {};
  var isChosen = new URLSearchParams(location.search).has("theme");
  var config = {
    displaylogo: false,
    showSendToCloud: false,
    responsive: true,
    scrollZoom: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    toImageButtonOptions: { format: "png", scale: 2 },
  };

  function theme() {
    return root.dataset.theme === "dark" ? "dark" : "light";
  }

  function recolour(value, swap) {
    if (typeof value === "string") {
      return Object.prototype.hasOwnProperty.call(swap, value) ? swap[value] : value;
    }
    if (Array.isArray(value)) {
      return value.map(function (one) {
        return recolour(one, swap);
      });
    }
    if (value && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (key) {
        copy[key] = key === "bdata" ? value[key] : recolour(value[key], swap);
      });
      return copy;
    }
    return value;
  }

  function put(target, path, value) {
    var keys = path.split(".");
    var last = keys.pop();
    keys.forEach(function (key) {
      target = target[key] = target[key] || {};
    });
    target[last] = value;
  }

  function specOf(name) {
    var block = document.querySelector('[data-figure-spec="' + name + '"]');
    var spec = recolour(JSON.parse(block.textContent), theme() === "dark" ? themes.swap : {});
    spec.layout.template = themes.templates[theme()];
    spec.layout.autosize = true;
    delete spec.layout.height;
    Object.keys(settings[name] || {}).forEach(function (path) {
      put(spec.layout, path, settings[name][path]);
    });
    if (narrow.matches) {
      /* A finger that scrolls the page must not draw a zoom box. */
      spec.layout.dragmode = false;
      var narrowSettings = (spec.layout.meta || {}).narrow || {};
      Object.keys(narrowSettings).forEach(function (path) {
        put(spec.layout, path, narrowSettings[path]);
      });
    }
    return spec;
  }

  function draw(slot) {
    var spec = specOf(slot.dataset.figure);
    return window.Plotly.react(slot.firstElementChild, spec.data, spec.layout, config);
  }

  function slots() {
    return Array.prototype.slice.call(document.querySelectorAll("[data-figure]"));
  }

  function drawAll() {
    return Promise.all(slots().map(draw));
  }

  function drawOneByOne(rest) {
    if (!rest.length) {
      root.dataset.ready = "true";
      return;
    }
    draw(rest[0]).then(function () {
      window.setTimeout(drawOneByOne, 0, rest.slice(1));
    });
  }

  function setTheme(name) {
    if (name !== theme()) {
      root.dataset.theme = name;
      drawAll();
    }
  }

  document.getElementById("theme-toggle").addEventListener("click", function () {
    isChosen = true;
    setTheme(theme() === "dark" ? "light" : "dark");
  });

  systemDark.addEventListener("change", function (event) {
    if (!isChosen) {
      setTheme(event.matches ? "dark" : "light");
    }
  });

  narrow.addEventListener("change", drawAll);

  Array.prototype.forEach.call(document.querySelectorAll("[data-setting]"), function (button) {
    button.addEventListener("click", function () {
      var name = button.dataset.target;
      settings[name] = settings[name] || {};
      settings[name][button.dataset.path] = button.dataset.setting;
      Array.prototype.forEach.call(button.parentElement.children, function (other) {
        other.setAttribute("aria-pressed", String(other === button));
      });
      draw(document.querySelector('[data-figure="' + name + '"]'));
    });
  });

  /* Paper is white and has one width: redraw before printing, and again afterwards. */
  var themeBeforePrint = null;
  window.addEventListener("beforeprint", function () {
    themeBeforePrint = theme();
    root.dataset.printing = "true";
    root.dataset.theme = "light";
    drawAll();
  });
  window.addEventListener("afterprint", function () {
    delete root.dataset.printing;
    root.dataset.theme = themeBeforePrint || "light";
    drawAll();
  });

  drawOneByOne(slots());
})();
