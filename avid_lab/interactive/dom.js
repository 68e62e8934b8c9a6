// Shared by the scripts of all widgets.

/** A new element with a class and a parent. */
function element(tag, name, parent) {
    const node = document.createElement(tag)
    node.className = name
    parent.append(node)
    return node
}

/** Call functions on events of a model; returns what stops it. */
function listen(model, listeners) {
    for (const [event, act] of Object.entries(listeners)) model.on(event, act)
    return () => { for (const [event, act] of Object.entries(listeners)) model.off(event, act) }
}


/** Give the sliders of the panel around a node a name and their value in words; returns what stops it. */
function nameSliders(node) {
    let look = null
    const name = () => {
        for (const slider of node.closest(".avid-panel")?.querySelectorAll(".widget-slider") ?? []) {
            const handle = slider.querySelector(".noUi-handle"), text = slider.querySelector(".widget-readout")?.textContent
            const label = slider.querySelector(".widget-label")?.textContent
            if (!handle || !label) continue
            if (handle.ariaLabel !== label) handle.ariaLabel = label
            if (text && handle.getAttribute("aria-valuetext") !== text) handle.setAttribute("aria-valuetext", text)
        }
    }
    const start = setTimeout(() => {
        const panel = node.closest(".avid-panel")
        if (!panel) return
        name()
        look = new MutationObserver(name)
        look.observe(panel, {subtree: true, childList: true, characterData: true, attributeFilter: ["aria-valuetext"]})
    }, 500)
    return () => { clearTimeout(start); look?.disconnect() }
}
