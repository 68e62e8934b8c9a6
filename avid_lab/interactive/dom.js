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

