# The ports of callbox for ufw, as /etc/ufw/applications.d/callbox. Then: ufw allow callbox

[callbox]
title=callbox
description=Browser calls: pages, wss, STUN and TURN, and the relay ports (turn.relay_ports)
ports=80,443,3478/tcp|3478,49152:65535/udp
