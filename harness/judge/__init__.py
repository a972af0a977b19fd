"""From a case's folder to its verdict, and the stories of the tasks that it names."""
